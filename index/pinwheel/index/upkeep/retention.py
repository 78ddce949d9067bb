"""Which releases may go: the planner of `index.prune`. What is promoted or deployed stays, and what its locks pin.

A release is named by its project (normalised) and its version (canonical, as `packaging` makes it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

DAY_S = 86_400
_SHA256 = re.compile(rb"\b[0-9a-f]{64}\b")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rules:
    """What stays in any case. 0 releases: all of them stay; 0 days: age keeps nothing; 0 development days: development
    versions (`1.2.dev3`) are like all others. The newest release of a project always stays."""

    releases: int = 0
    days: int = 0
    development_days: int = 0

    @property
    def limits(self) -> bool:
        """Whether anything can ever go."""
        return self.releases > 0 or self.development_days > 0


@dataclass(frozen=True, slots=True)
class Dated:
    """A release as the planner sees it. `uploaded_at` counts seconds since 1970 to its newest file, `hashes` are the
    sha256 of its files, `channels` those to which it was promoted."""

    project: str
    version: str
    uploaded_at: float
    hashes: frozenset[str]
    channels: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        return self.project, canonicalize_version(self.version)


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock beside a release: its own sha256, and all hashes that it pins."""

    project: str
    version: str
    sha256: str
    pins: frozenset[str]

    @property
    def key(self) -> Key:
        return self.project, canonicalize_version(self.version)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version that runs somewhere, or that a rollback would bring back. `release` is `VERSION-LOCK8` or empty: the
    hosts' name for it, which ends in the first eight digits of its lock's sha256."""

    application: str
    environment: str
    version: str
    release: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, and what would go by the rules but has a reason to stay. Both ordered by project and version."""

    remove: tuple[Dated, ...]
    spared: tuple[tuple[Dated, str], ...]


def planned(releases: Iterable[Dated], rules: Rules, needed: Mapping[Key, str], now: float) -> Plan:
    """Judge releases, all of each project together. `needed` says why one of them must stay."""
    projects: dict[str, list[Dated]] = {}
    for each in releases:
        projects.setdefault(each.project, []).append(each)
    remove: list[Dated] = []
    spared: list[tuple[Dated, str]] = []
    for _, found in sorted(projects.items()):
        for each in _outdated(found, rules, now):
            if each.channels:
                spared.append((each, f"promoted to {', '.join(sorted(each.channels))}"))
            elif each.key in needed:
                spared.append((each, needed[each.key]))
            else:
                remove.append(each)
    return Plan(tuple(remove), tuple(spared))


def _outdated(releases: Iterable[Dated], rules: Rules, now: float) -> list[Dated]:
    """Those of one project that the rules do not keep, oldest version first."""
    found: list[Dated] = []
    rank = 0
    for newer, each in enumerate(sorted(releases, key=_version, reverse=True)):
        age_days = (now - each.uploaded_at) / DAY_S
        if rules.development_days and _version(each).is_devrelease:
            gone = age_days > rules.development_days
        else:
            gone = 0 < rules.releases <= rank and age_days > rules.days
            rank += 1
        if gone and newer:
            found.append(each)
    return found[::-1]


def _version(release: Dated) -> Version:
    return Version(release.version)


def deployments(events: Iterable[Mapping[str, Any]]) -> frozenset[Deployment]:
    """What is deployed by these events, which are in their order: on each host that was ever deployed to the release
    that was activated last and the one before it, and what each environment's last rollout is about."""
    hosts: dict[tuple[str, str, str], list[Deployment]] = {}
    rollouts: dict[tuple[str, str], Deployment] = {}
    for event in events:
        application, environment = event["subject"], event["environment"]
        release = str((event.get("detail") or {}).get("release", ""))
        each = Deployment(application, environment, event["version"], release)
        if event["kind"] == "rollout-started":
            if (event.get("detail") or {}).get("act") == "restart":
                continue  # it brings nothing that was not there
            rollouts[application, environment] = each
        elif event["kind"] == "activated":
            before = hosts.get((application, environment, event["host"]), [])
            others = [one for one in before if one != each]
            hosts[application, environment, event["host"]] = [*others[-1:], each]
    return frozenset(one for found in hosts.values() for one in found) | frozenset(rollouts.values())


def reasons(releases: Iterable[Dated], deployed: Iterable[Deployment], locks: Iterable[Locked]) -> dict[Key, str]:
    """Why releases must stay: those that are deployed, and those that a lock of a deployed or promoted one pins."""
    found: dict[Key, str] = {}
    by_digits: dict[str, list[Locked]] = {}
    beside: dict[Key, list[Locked]] = {}
    for lock in locks:
        by_digits.setdefault(lock.sha256[:8], []).append(lock)
        beside.setdefault(lock.key, []).append(lock)
    pinning: dict[str, str] = {}

    def pin(lock: Locked, why: str) -> None:
        for sha256 in sorted(lock.pins):
            pinning.setdefault(sha256, f"pinned by the lock of {lock.project} {lock.version}, which is {why}")

    for each in sorted(deployed, key=lambda one: (one.environment, one.application, one.version, one.release)):
        why = f"deployed to {each.environment}"
        # an application may be called otherwise than its project; its lock tells
        exact = by_digits.get(each.release.rpartition("-")[2], []) if each.release else []
        version = _canonical(each.version)
        ours = [lock for lock in exact if lock.key[1] == version]
        named = (str(canonicalize_name(each.application)), version)
        for key in (named, *(lock.key for lock in ours)):
            found.setdefault(key, why)
        for lock in ours or beside.get(named, []):
            pin(lock, why)
    known = list(releases)
    for one in known:
        for lock in beside.get(one.key, []) if one.channels else []:
            pin(lock, f"promoted to {', '.join(sorted(one.channels))}")
    for one in known:
        for sha256 in sorted(one.hashes & pinning.keys()):
            found.setdefault(one.key, pinning[sha256])
    return found


def pins(document: bytes) -> frozenset[str]:
    """Every sha256 that a lock names, whatever its format."""
    return frozenset(each.decode() for each in _SHA256.findall(document))


def _canonical(version: str) -> str:
    try:
        return canonicalize_version(Version(version))
    except InvalidVersion:
        return version
