"""Explain where a project's files come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from pinwheel.index.globs import matching
from pinwheel.index.mirror import kept
from pinwheel.index.records import Records

STARTED = "started.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a project's page is as it is; `files` pairs each filename with where it comes from."""

    name: str
    private: bool
    reason: str
    files: tuple[tuple[str, str], ...]

    def document(self) -> dict[str, Any]:
        files = [{"filename": filename, "from": where} for filename, where in self.files]
        return {"name": self.name, "private": self.private, "reason": self.reason, "files": files}


@dataclass(frozen=True, slots=True)
class Started:
    """How the server of a data folder was last started: its private globs, and its upstreams without credentials,
    None when it never was."""

    private: tuple[str, ...] = ()
    upstreams: tuple[str, ...] | None = None

    def write(self, folder: Path) -> None:
        """Leave it in the data folder for `index.why`."""
        partial = folder / "tmp" / STARTED
        partial.write_text(json.dumps({"private": self.private, "upstreams": self.upstreams}) + "\n")
        partial.replace(folder / STARTED)

    @classmethod
    def read(cls, folder: Path) -> Started:
        try:
            document = json.loads((folder / STARTED).read_text())
        except FileNotFoundError:
            return cls()
        return cls(tuple(document["private"]), tuple(document["upstreams"]))


def explain(name: str, records: Records, upstream_folder: Path, started: Started) -> Origin:
    """Say it from what is recorded here; nobody is asked."""
    name = canonicalize_name(name)
    own = tuple((entry.filename, "published here") for entry in records.project(name))
    glob = matching(name, started.private)
    if own or records.is_private(name):
        return Origin(name, True, "published here, so no upstream is ever asked for this name", own)
    if glob:
        return Origin(name, True, f"nothing is published here, and {glob} keeps the name from every upstream", ())
    if started.upstreams == ():
        return Origin(name, False, "not published here, and the server has no upstream", ())
    listed = kept(upstream_folder, name)
    if listed is None:
        asked = " or ".join(started.upstreams or ("an upstream",))
        return Origin(name, False, f"not published here, and {asked} is not known to have it", ())
    if not listed.files:
        return Origin(
            name, False, f"not published here, and the upstream's page {listed.source} has no usable file", ()
        )
    files = tuple((file.entry.filename, file.url) for file in listed.files.values())
    return Origin(name, False, f"from the upstream's page {listed.source}", files)
