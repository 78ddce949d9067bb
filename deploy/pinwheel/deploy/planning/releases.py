"""The releases on hosts: which is older, and to which of them to go back."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.version import InvalidVersion, Version

from pinwheel.deploy.planning.facts import HostFacts, Release
from pinwheel.errors import PinwheelError


class NothingToGoBackTo(PinwheelError):
    """No release on the hosts can be rolled back to."""


def version_of(release: str) -> str:
    """The version in a release's name."""
    return release.rpartition("-")[0]


def age(release: Release) -> tuple[Version, str]:
    """Sorts releases from old to new: by version, and two locks of one version by when they were activated."""
    try:
        return Version(release.version), release.activated_at
    except InvalidVersion:
        return Version("0"), release.activated_at


def earlier(application: str, facts: Sequence[HostFacts], to: str = "") -> Release:
    """The release to roll back to: the newest one older than the newest running one that passed its gate on a host.

    For the whole fleet one release, so that a rollout that stopped half-way goes back on the hosts that it reached
    and leaves the others alone. `to` is a version or a release, and then need not be older.
    Raises `NothingToGoBackTo`.
    """
    installed = [each.installed(application) for each in facts]
    running = [found for each in installed if (found := each.release(each.current))]
    if not running:
        raise NothingToGoBackTo(
            f"no host that answers runs {application}",
            remedy=f"see pinwheel deploy.status, or deploy.rollout {application}==VERSION",
        )
    newest = max(running, key=age)
    good = [each for host in installed for each in host.releases if each.verdict == "good"]
    fits = [each for each in good if (_is(each, to) if to else age(each) < age(newest))]
    fits = [each for each in fits if to or each.release != newest.release]
    if not fits:
        known = ", ".join(sorted({each.release for each in good})) or "none"
        raise NothingToGoBackTo(
            f"no host has {application} {to} that passed its gate" if to else f"nothing older than {newest.release}",
            remedy=f"good releases on the hosts: {known}; any other comes by pinwheel deploy.rollout",
        )
    return max(fits, key=age)


def _is(release: Release, to: str) -> bool:
    """Does `to` name it, as a release or as a version in whatever spelling?"""
    try:
        return to == release.release or Version(to) == Version(release.version)
    except InvalidVersion:
        return to == release.version
