"""Small blobs that were asked for lately, in memory: to read one takes a tenth of the time that sending it does."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from typing import BinaryIO

from pinwheel.index.recent import Recent
from pinwheel.index.store.blobs import Blobs

MOST_BYTES = 8 * 1024 * 1024  # for each worker
LARGEST_BYTES = 2 * 1024 * 1024
MOST_ASKED = 4096


class WarmBlobs:
    """Blobs for readers. Safe to share between threads."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._asked: Recent[str, bool] = Recent(MOST_ASKED)
        self._lock = threading.Lock()
        self._warm: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def open(self, sha256: str) -> BinaryIO | None:
        """The blob for reading, positioned at its start; None when there is none."""
        warm = self._warm.get(sha256)
        if warm is not None:
            return io.BytesIO(warm)
        file = self._blobs.open(sha256)
        if file is not None:
            if self._asked.get(sha256):
                self._keep(file, sha256)
            else:
                # once is no sign that it is asked for again: a mirror asks for everything once
                self._asked.put(sha256, True)
        return file

    def _keep(self, file: BinaryIO, sha256: str) -> None:
        data = file.read(LARGEST_BYTES + 1)
        file.seek(0)
        # a damaged blob must be served from where it is mended
        if len(data) > LARGEST_BYTES or hashlib.sha256(data).hexdigest() != sha256:
            self._asked.discard(sha256)
            return
        with self._lock:
            if sha256 not in self._warm:
                self._warm[sha256] = data
                self._bytes += len(data)
            while self._bytes > MOST_BYTES:
                _, oldest = self._warm.popitem(last=False)
                self._bytes -= len(oldest)
