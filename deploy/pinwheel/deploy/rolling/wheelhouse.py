"""Wheels on the operator's side, for hosts that do not reach the index: fetched once, verified, kept."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pinwheel.deploy.rolling.fetch import NotInTheIndex
from pinwheel.index.client import IndexFile

CHUNK_BYTES = 1 << 20


class Source(Protocol):
    """The part of the index client that is needed here."""

    def files(self, project: str) -> tuple[IndexFile, ...]: ...
    def download(self, file: IndexFile, into: Path) -> Path: ...


class Wheelhouse:
    """Gives files by their sha256. `projects` are the names of what may be asked for. Safe to share between threads.

    What lies in `folder` from another time is verified before it is given away; all of it may be deleted.
    """

    def __init__(self, source: Source, folder: Path, projects: Mapping[str, str]) -> None:
        self._source = source
        self._folder = folder
        self._projects = projects
        self._ready: dict[str, Path] = {}
        self._lock = threading.Lock()

    def file(self, sha256: str) -> Path:
        """The file with that sha256; from the index when it is not here. Raises `NotInTheIndex`, and what the index
        client raises, above all `Damaged`."""
        with self._lock:  # whoever waits here most likely wants the same file
            if sha256 not in self._ready:
                self._ready[sha256] = self._kept(sha256) or self._fetched(sha256)
            return self._ready[sha256]

    def _kept(self, sha256: str) -> Path | None:
        for file in (self._folder / sha256).glob("[!.]*"):
            with file.open("rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() == sha256:
                    return file
            file.unlink()
        return None

    def _fetched(self, sha256: str) -> Path:
        project = self._projects.get(sha256)
        offered = self._source.files(project) if project else ()
        found = next((each for each in offered if each.sha256 == sha256), None)
        if found is None:
            raise NotInTheIndex(
                f"the index has no file of {project or 'any project'} with sha256 {sha256}",
                where=str(project),
                remedy="was it removed? Lock the version again: pinwheel packaging.lock",
            )
        return self._source.download(found, self._folder / sha256)


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/pinwheel/wheels`, by default under `~/.cache`."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pinwheel" / "wheels"
