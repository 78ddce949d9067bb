"""What the flags of several tasks have in common: their help, and how their values are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinwheel.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinwheel.config import Loaded
    from pinwheel.index.channels import Channels
    from pinwheel.index.policy import Policy
    from pinwheel.index.public.cooldown import Cooldown

DATA = "pinwheel-index"
DATA_HELP = f"the server's data folder (default: ./{DATA})"
JSON_HELP = "print one JSON document (default: text)"
LONGEST_S = 36500 * 86400


def private_globs(loaded: Loaded) -> tuple[str, ...]:
    """The globs in pinwheel.toml. Raises `UsageError`."""
    from pinwheel.index.globs import checked

    return checked(loaded.config.index.private, f"{loaded.file}: index.private")


def policy_of(loaded: Loaded, private: Iterable[str], young: str, *, anonymous_read: bool) -> Policy:
    """What pinwheel.toml and the flags say together. `private` are the globs of `--private`, `young` is `--cooldown`.

    Raises `UsageError`.
    """
    from pinwheel.index.forwarded import networks
    from pinwheel.index.globs import checked
    from pinwheel.index.policy import Policy

    index = loaded.config.index
    return Policy(
        private=(*checked(private, "--private"), *private_globs(loaded)),
        protected=checked(index.protected, f"{loaded.file}: index.protected"),
        cooldown=cooldown(loaded, young),
        cache_bytes=size_bytes(index.cache_size, f"{loaded.file}: index.cache_size") if index.cache_size else None,
        anonymous_read=anonymous_read,
        channels=channels_of(loaded),
        trusted_proxies=networks(index.trusted_proxies, f"{loaded.file}: index.trusted_proxies"),
    )


def channels_of(loaded: Loaded) -> Channels:
    """The channels of pinwheel.toml. Raises `UsageError`."""
    from pinwheel.index.channels import declared

    declarations = {name: channel.inherits for name, channel in loaded.config.index.channels.items()}
    return declared(declarations, f"{loaded.file}: index.channels")


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def cooldown(loaded: Loaded, flag: str) -> Cooldown:
    """The cool-down of pinwheel.toml, or of the flag where that is given. Raises `UsageError`."""
    from pinwheel.index.public.cooldown import Cooldown, exemption

    index = loaded.config.index
    exemptions = tuple(
        exemption(one.release, one.reason, one.until, f"{loaded.file}: index.exceptions.{number}")
        for number, one in enumerate(index.exceptions)
    )
    text, where = (flag, "--cooldown") if flag else (index.cooldown, f"{loaded.file}: index.cooldown")
    return Cooldown(duration_s(text, where) if text else 0.0, exemptions)


def size_bytes(text: str, where: str) -> int:
    """`500MiB`, `20GiB` or `2TiB` in bytes. `where` names the key that has it. Raises `UsageError`."""
    units = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    number, unit = text[:-3].lstrip("0"), text[-3:]
    # by its length first: Python refuses to read numbers of thousands of digits
    if unit not in units or not 0 < len(number) <= 6 or not number.isdecimal():
        raise UsageError(f"{text[:40]!r} is no size", where=where, remedy="write 500MiB, 20GiB or 2TiB")
    return int(number) * units[unit]


def duration_s(text: str, where: str) -> float:
    """`90d`, `12h`, `30m` or `45s` in seconds. `where` names the flag or key that has it. Raises `UsageError`, also for
    more than a hundred years."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    number, unit = text[:-1].lstrip("0"), text[-1:]
    if not number.isdecimal() or unit not in units:
        raise UsageError(f"{text!r} is no duration", where=where, remedy="write 90d, 12h, 30m or 45s")
    # by its length first: Python refuses to read numbers of thousands of digits
    if len(number) > 12 or int(number) * units[unit] > LONGEST_S:
        raise UsageError(
            "this is longer than a hundred years", where=f"{where} {text[:40]}", remedy="36500d is the most"
        )
    return float(int(number) * units[unit])
