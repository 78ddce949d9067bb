"""Whoever is not a web server of ours can claim what it likes: it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pinwheel.errors import UsageError
from pinwheel.index.forwarded import HEADERS, networks, settle, who

OURS = networks(["127.0.0.1", "10.0.0.0/8", "::1"], "test")


def settled(peer: str, *, trusted: bool = True, **said: str) -> dict[str, Any]:
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "inside"}
    environ |= {f"HTTP_X_{key.upper()}": value for key, value in said.items()}
    settle(environ, OURS if trusted else ())
    assert not environ.keys() & set(HEADERS)
    return environ


@pytest.mark.parametrize(
    ("peer", "chain", "address"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "203.0.113.9, nonsense", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_who_asks_is_the_last_address_that_we_cannot_vouch_for(peer: str, chain: str, address: str) -> None:
    assert settled(peer, forwarded_for=chain)["REMOTE_ADDR"] == address


def test_scheme_and_host_are_the_clients() -> None:
    environ = settled("127.0.0.1", forwarded_proto="https", forwarded_host="index.example:8443")
    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == ("https", "index.example:8443")


@pytest.mark.parametrize("peer", ["192.0.2.1", "unix:", ""])
def test_a_stranger_forwards_nothing(peer: str) -> None:
    environ = settled(
        peer, forwarded_proto="https", forwarded_host="evil", forwarded_for="127.0.0.1", real_ip="1.1.1.1"
    )
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == (peer, "http", "inside")


def test_without_trusted_proxies_nobody_forwards() -> None:
    assert settled("127.0.0.1", trusted=False, forwarded_for="203.0.113.9")["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("host", ["a/b", "a b", "a\r\nb", "", "a,"])
def test_a_host_that_is_none_is_not_taken(host: str) -> None:
    assert settled("127.0.0.1", forwarded_host=host, forwarded_proto="gopher")["HTTP_HOST"] == "inside"


def test_addresses_that_are_none_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"10\.0\.0\.1/8"):
        networks(["10.0.0.1/8"], "index.trusted_proxies")


def test_the_owner_of_an_ipv6_address_has_all_around_it() -> None:
    assert who("2001:db8::1") == who("2001:db8::2") == "2001:db8::/64"
    assert who("::ffff:192.0.2.1") == who("192.0.2.1") == "192.0.2.1"
