"""Which releases nobody needs any more. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from pinwheel.deploy.planning.facts import HostFacts, Release
from pinwheel.deploy.planning.releases import NothingToGoBackTo, age, earlier
from pinwheel.deploy.planning.wish import Wish
from pinwheel.errors import UsageError


def surplus(application: str, fleet: Sequence[HostFacts], keep: int) -> dict[str, tuple[str, ...]]:
    """By host the releases that can go; () for a host that has none of those.

    The `keep` newest stay, as `deploy.rollback` orders them. So does, however old it is, what runs on any host, what
    ran before on this one, and what a rollback would go to. A release that failed its gate counts for nothing, also on
    hosts that it never got to, and stays only while it is newer than what runs. Raises `UsageError` when `keep` is less
    than 1.
    """
    if keep < 1:
        raise UsageError(f"{keep} releases cannot be kept", where="--keep", remedy="write 1 or more")
    return _surplus(application, fleet, keep)


def superseded(wish: Wish, fleet: Sequence[HostFacts], keep: int) -> dict[str, tuple[str, ...]]:
    """By host the releases that will be surplus once `wish` runs on all of `fleet`, and that nobody will miss if it
    does not come to that."""
    coming = Release(wish.release, wish.version, wish.lock_sha256, "good", "9999")  # of two locks the newer one
    later = []
    for each in fleet:
        here = each.installed(wish.application)
        others = (one for one in here.releases if one.release != wish.release)
        changed = replace(here, current=wish.release, releases=(*others, coming))
        later.append(replace(each, applications={**each.applications, wish.application: changed}))
    now, then = _surplus(wish.application, fleet, keep - 1), _surplus(wish.application, later, keep)
    return {host: tuple(each for each in then[host] if each in now[host]) for host in now}


def _surplus(application: str, fleet: Sequence[HostFacts], keep: int) -> dict[str, tuple[str, ...]]:
    needed = {each.installed(application).current for each in fleet}
    with contextlib.suppress(NothingToGoBackTo):  # nothing runs, or it is the oldest
        needed.add(earlier(application, fleet).release)
    tried = [one for each in fleet for one in each.installed(application).releases]
    bad = {one.release for one in tried if one.verdict == "bad"} - {
        one.release for one in tried if one.verdict == "good"
    }
    return {each.host: _of_host(application, each, needed, bad, keep) for each in fleet}


def _of_host(application: str, host: HostFacts, needed: set[str | None], bad: set[str], keep: int) -> tuple[str, ...]:
    here = host.installed(application)
    current = here.release(here.current)
    ordered = sorted(here.releases, key=age, reverse=True)
    failed = [each for each in ordered if each.verdict == "bad" or each.release in bad]
    newest = [each.release for each in ordered if each not in failed][:keep]
    tried = [each.release for each in failed if not current or age(each) > age(current)]
    stay = {*needed, *newest, *tried, here.previous}
    return tuple(each.release for each in ordered if each.release not in stay)
