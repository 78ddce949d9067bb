"""Which releases nobody needs any more. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pinwheel.deploy.planning.facts import HostFacts, Release
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.plan import Plan
from pinwheel.deploy.planning.releases import NothingToGoBackTo, age, earlier
from pinwheel.errors import UsageError


def surplus(application: str, fleet: Sequence[HostFacts], keep: int) -> dict[str, tuple[str, ...]]:
    """By host the releases that can go; () for a host that has none of those.

    The `keep` newest stay, as `deploy.rollback` orders them. So does, however old it is, what runs on any host, and
    what a rollback would go to. A release that failed its gate counts for nothing, also on hosts that it never got to,
    and stays only while it is newer than what runs. Raises `UsageError` when `keep` is less than 1.
    """
    if keep < 1:
        raise UsageError(f"{keep} releases cannot be kept", where="--keep", remedy="write 1 or more")
    needed = {each.installed(application).current for each in fleet}
    with contextlib.suppress(NothingToGoBackTo):  # nothing runs, or it is the oldest
        needed.add(earlier(application, fleet).release)
    tried = [one for each in fleet for one in each.installed(application).releases]
    bad = {one.release for one in tried if one.verdict == "bad"} - {
        one.release for one in tried if one.verdict == "good"
    }
    return {each.host: _of_host(application, each, needed, bad, keep) for each in fleet}


def after(facts: Mapping[str, HostFacts | Outcome], plan: Plan) -> list[HostFacts]:
    """What those hosts say once all of `plan` was done on them."""
    wish, done = plan.wish, []
    for each in plan.hosts:
        told = facts[each.host]
        if isinstance(told, HostFacts):
            here = told.installed(wish.application)
            # it was activated last, so of two locks of one version it is the newer one
            new = Release(each.wanted, each.prepare.version, each.prepare.lock_sha256, "good", "9999")
            others = tuple(one for one in here.releases if one.release != each.wanted)
            now = replace(here, current=each.wanted, releases=(*others, new))
            done.append(replace(told, applications={**told.applications, wish.application: now}))
    return done


def _of_host(application: str, host: HostFacts, needed: set[str | None], bad: set[str], keep: int) -> tuple[str, ...]:
    here = host.installed(application)
    current = here.release(here.current)
    ordered = sorted(here.releases, key=age, reverse=True)
    failed = [each for each in ordered if each.verdict == "bad" or each.release in bad]
    newest = [each.release for each in ordered if each not in failed][:keep]
    tried = [each.release for each in failed if not current or age(each) > age(current)]
    return tuple(each.release for each in ordered if each.release not in {*needed, *newest, *tried})
