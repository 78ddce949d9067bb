"""Who asks, when a web server in front tells it: forwarded headers count from trusted addresses only."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

from pinwheel.errors import UsageError
from pinwheel.index.answers import Environ

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
HEADERS = tuple(
    f"HTTP_{name}"
    for name in (
        *("FORWARDED", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_FORWARDED_PORT"),
        *("X_FORWARDED_PREFIX", "X_FORWARDED_SSL", "X_REAL_IP", "X_SCRIPT_NAME"),
    )
)
"""What proxies say of a request. pypiserver's framework would believe some of them from anybody."""
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


def networks(texts: Iterable[str], where: str) -> tuple[Network, ...]:
    """Addresses and networks (`10.0.0.0/8`) as values. Raises `UsageError` naming `where`."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise UsageError(
                f"{text!r} is no address or network",
                where=where,
                remedy="write the addresses of your web servers, like '127.0.0.1' or '10.0.0.0/8'",
            ) from error
    return tuple(found)


def settle(environ: Environ, trusted: tuple[Network, ...]) -> None:
    """Let the environ say who asks, by which scheme and host: what a trusted peer forwards, else what the peer is.

    Of the addresses in X-Forwarded-For the last one that is not trusted is who asks: what stands before it anybody
    could have written. No forwarded header is left.
    """
    if environ.keys().isdisjoint(HEADERS):
        return
    said = {key: environ.pop(key, "") for key in HEADERS}
    if not trusted or not is_trusted(environ.get("REMOTE_ADDR", ""), trusted):
        return
    for address in reversed(said["HTTP_X_FORWARDED_FOR"].split(",")):
        found = parsed(address.strip())
        if found is None:
            break
        environ["REMOTE_ADDR"] = str(found)
        if not is_trusted(str(found), trusted):
            break
    scheme = said["HTTP_X_FORWARDED_PROTO"].rpartition(",")[2].strip()
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    host = said["HTTP_X_FORWARDED_HOST"].rpartition(",")[2].strip()
    if _HOST.fullmatch(host):
        environ["HTTP_HOST"] = host


@functools.lru_cache(maxsize=1024)
def is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    found = parsed(address)
    return found is not None and any(found in network for network in trusted)


@functools.lru_cache(maxsize=1024)
def who(address: str) -> str:
    """Whose address it is, for limits: whoever has an IPv6 address has the /64 around it."""
    found = parsed(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found) if found is not None else address


def parsed(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
