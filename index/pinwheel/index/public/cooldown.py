"""The cool-down: public files that are too young are not offered, unless an exception says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import pin
from pinwheel.errors import UsageError
from pinwheel.index.entries import FileEntry
from pinwheel.index.public.sightings import Sighting


@dataclass(frozen=True, slots=True)
class Exemption:
    """A release that is offered however young it is. Ends with the day `until`, in UTC."""

    project: str
    version: Version
    reason: str
    until: date

    @property
    def release(self) -> str:
        return f"{self.project}=={self.version}"

    @property
    def ends_at(self) -> float:
        """In seconds since 1970."""
        return datetime.combine(self.until, time(), UTC).timestamp() + timedelta(days=1).total_seconds()


@dataclass(frozen=True, slots=True)
class Cooldown:
    """How old a public file must be to be offered, in seconds; 0 turns it off."""

    period_s: float = 0.0
    exemptions: tuple[Exemption, ...] = ()


@dataclass(frozen=True, slots=True)
class Offered:
    """The file is old enough, or there is no cool-down."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """The file is too young until `until`, in seconds since 1970."""

    until: float


@dataclass(frozen=True, slots=True)
class Exempted:
    """The file is too young until `until`, and offered all the same."""

    until: float
    exemption: Exemption


Verdict = Offered | HeldBack | Exempted


def verdict(sighting: Sighting, now: float, cooldown: Cooldown) -> Verdict:
    """Whether a file may be had at `now`, by its page or its address."""
    if cooldown.period_s <= 0:
        return Offered()
    until = _born(sighting) + cooldown.period_s
    if now >= until:
        return Offered()
    entry = sighting.file.entry
    for exemption in cooldown.exemptions:
        if (
            exemption.project == entry.project
            and now < exemption.ends_at
            and exemption.version == Version(entry.version)
        ):
            return Exempted(until, exemption)
    return HeldBack(until)


def visible(
    sightings: Iterable[Sighting], now: float, cooldown: Cooldown
) -> tuple[tuple[FileEntry, ...], float | None]:
    """The files that a page shows at `now`, and when it will next show others; None when time alone changes nothing."""
    shown, changes = [], []
    for sighting in sightings:
        match verdict(sighting, now, cooldown):
            case Offered():
                shown.append(sighting.file.entry)
            case HeldBack(until):
                changes.append(until)
            case Exempted(until):
                shown.append(sighting.file.entry)
                last = _last_exempted(sighting, cooldown)
                if last < until:
                    changes.append(last)
    return tuple(shown), min(changes, default=None)


def expired(exemptions: Iterable[Exemption], now: float) -> tuple[Exemption, ...]:
    """Those that no longer count: somebody should take them out of the configuration."""
    return tuple(each for each in exemptions if now >= each.ends_at)


def exemption(release: str, reason: str, until: date, where: str) -> Exemption:
    """One exception as it was written. `where` names the file and the key. Raises `UsageError`."""
    if not reason.strip():
        raise UsageError("an exception from the cool-down needs a reason", where=where, remedy='reason = "…"')
    try:
        name, version = pin.parse(release)
    except UsageError as error:
        raise UsageError(
            f"{release!r} names no release", where=where, remedy='write for example release = "requests==2.33.1"'
        ) from error
    return Exemption(canonicalize_name(name), version, reason, until)


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _last_exempted(sighting: Sighting, cooldown: Cooldown) -> float:
    entry = sighting.file.entry
    mine = (each for each in cooldown.exemptions if each.project == entry.project)
    return max((each.ends_at for each in mine if each.version == Version(entry.version)), default=0.0)


def _born(sighting: Sighting) -> float:
    """When the file came to be, as far as anybody tells: else when it was first seen here."""
    try:
        told = datetime.fromisoformat(sighting.file.entry.upload_time)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return sighting.first_seen
