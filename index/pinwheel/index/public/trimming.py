"""Keep what came from upstreams within a size: the files that were used least lately go, and are fetched again."""

from __future__ import annotations

import os
import time
from typing import BinaryIO

from pinwheel.index.store.blobs import FolderBlobs

TO_S = 3600.0
"""How exactly it is noted when a file was used: writing it down for each request would wear the disk for nothing."""


def note_use(file: BinaryIO) -> None:
    """The blob is used now. Its own time says so, as file systems do not all keep the time of the last reading."""
    if time.time() - os.fstat(file.fileno()).st_mtime > TO_S:
        os.utime(file.fileno())


def trim(blobs: FolderBlobs, most_bytes: int) -> int:
    """Remove blobs until the others take no more than `most_bytes`, and say how many went. Safe while others fetch and
    serve them: what is being read stays until it has been read."""
    states = ((sha256, _state(blobs, sha256)) for sha256 in blobs.every())
    there = sorted((state.st_mtime_ns, state.st_size, sha256) for sha256, state in states if state is not None)
    total_bytes = sum(size_bytes for _, size_bytes, _ in there)
    gone = 0
    for used_ns, size_bytes, sha256 in there:
        if total_bytes <= most_bytes:
            break
        state = _state(blobs, sha256)
        if state is not None and state.st_mtime_ns == used_ns:  # else somebody has used it since
            blobs.discard(sha256)
            total_bytes -= size_bytes
            gone += 1
    return gone


def _state(blobs: FolderBlobs, sha256: str) -> os.stat_result | None:
    try:
        return blobs.path(sha256).stat()
    except FileNotFoundError:
        return None
