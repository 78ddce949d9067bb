"""Whose a name is, which the server decides by; where each file of a project comes from and why, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from pinwheel.index.entries import FileEntry
from pinwheel.index.globs import matching
from pinwheel.index.public.cooldown import Cooldown, Exempted, Exemption, HeldBack, Offered, expired, rfc3339, verdict
from pinwheel.index.public.sightings import Sighting, Sightings


@dataclass(frozen=True, slots=True)
class PublishedHere:
    """The name was published here once, or taken over or restored as one of ours, so it is private for ever."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The name matches `glob`, one of those that the operator keeps private."""

    glob: str


@dataclass(frozen=True, slots=True)
class Public:
    """The name is anybody's: upstreams may be asked for it."""


Owner = PublishedHere | Reserved | Public


def owner(name: str, *, published: bool, private: Iterable[str]) -> Owner:
    """Whose a normalised name is. `published` says whether it ever was here, `private` are the operator's globs."""
    if published:
        return PublishedHere()
    glob = matching(name, private)
    return Reserved(glob) if glob else Public()


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """One file: where it comes from, whether it can be had, and why (not)."""

    filename: str
    version: str
    source: str
    offered: bool
    why: str
    held_until: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a project's page is as it is. `expired` are exceptions for it that no longer count."""

    name: str
    private: bool
    reason: str
    files: tuple[FileOrigin, ...] = ()
    expired: tuple[Exemption, ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "private": self.private,
            "reason": self.reason,
            "files": [
                {
                    "filename": each.filename,
                    "version": each.version,
                    "from": each.source,
                    "offered": each.offered,
                    "why": each.why,
                    "held_until": each.held_until or None,
                }
                for each in self.files
            ],
            "expired_exceptions": [
                {"release": each.release, "reason": each.reason, "until": each.until.isoformat()}
                for each in self.expired
            ],
        }


def explain(
    name: str,
    whose: Owner,
    own: Sequence[FileEntry],
    seen: Sightings | None,
    upstreams: Sequence[str],
    cooldown: Cooldown,
    now: float,
) -> Origin:
    """Put it in words. `own` are the project's files here, `seen` is what is known of its page in `upstreams`."""
    files = tuple(FileOrigin(each.filename, each.version, "here", True, _own_words(each)) for each in own)
    match whose:
        case PublishedHere():
            known = "published here" if own else "known here, without a file that is left"
            return Origin(name, True, f"{known}, so no upstream is ever asked for this name", files)
        case Reserved(glob):
            return Origin(name, True, f"nothing is published here, and {glob} keeps the name from every upstream")
    late = expired((each for each in cooldown.exemptions if each.project == name), now)
    if not upstreams:
        return Origin(name, False, "not published here, and the server has no upstream", expired=late)
    if seen is None:
        reason = f"not published here; not known from {', '.join(upstreams)}, which is asked when an installer asks"
        return Origin(name, False, reason, expired=late)
    if not seen.source:
        reason = "not published here, and no upstream has it any more"
    elif not seen.listed:
        reason = f"not published here, and the upstream's page {seen.source} has no usable file"
    else:
        reason = f"from the upstream's page {seen.source}"
    if seen.status != "active":
        reason += f"; the upstream says that it is {seen.status}" + (f": {seen.reason}" if seen.reason else "")
    ordered = sorted(seen.files.values(), key=lambda each: (Version(each.file.entry.version), each.file.entry.filename))
    told = tuple(_told(each, cooldown, now) for each in ordered)
    if seen.status == "quarantined":
        told = tuple(dataclasses.replace(each, offered=False, why="quarantined by the upstream") for each in told)
    return Origin(name, False, reason, told, late)


def of_version(origin: Origin, version: Version) -> Origin:
    """The same for one version."""
    files = tuple(each for each in origin.files if Version(each.version) == version)
    late = tuple(each for each in origin.expired if each.version == version)
    return dataclasses.replace(origin, files=files, expired=late)


def _told(sighting: Sighting, cooldown: Cooldown, now: float) -> FileOrigin:
    entry = sighting.file.entry
    offered, why, until = True, "public", ""
    match verdict(sighting, now, cooldown):
        case HeldBack(seconds):
            until = rfc3339(seconds)
            offered, why = False, f"held back by the cool-down until {until}"
        case Exempted(seconds, exemption):
            until = rfc3339(seconds)
            why = f"public; exempt from the cool-down until {exemption.until}: {exemption.reason}"
        case Offered():
            pass
    if sighting.disputed:
        why += f"; the upstream's page now gives it another hash, {sighting.disputed}, which is refused"
    if not sighting.listed:
        why += "; no longer on the upstream's page"
    return FileOrigin(entry.filename, entry.version, sighting.file.url, offered, why, until)


def _own_words(entry: FileEntry) -> str:
    return "published here" if entry.yanked is None else f"published here; yanked: {entry.yanked or 'no reason given'}"
