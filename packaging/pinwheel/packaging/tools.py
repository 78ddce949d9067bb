"""What packaging works with, put together once for each command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinwheel.packaging.proving.signatures import Signer
from pinwheel.packaging.publishing.publish import EventLog, Index, Upload
from pinwheel.packaging.repositories.access import Keyring
from pinwheel.packaging.repositories.git import Mirror
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.statement import Paper
from pinwheel.packaging.work import Wanted

OLDEST_GLIBC = (2, 35)


@dataclass(frozen=True, slots=True)
class Tools:
    """What releasing works with. `report` takes a project's name and what happens to it now, empty when that is nothing
    any more, from several threads; `ours` are the names of pinwheel.toml; without a `signer`, statements are not
    signed."""

    index: Index
    upload: Upload
    events: EventLog
    resolver: Resolver
    cache: Path
    report: Callable[[str, str], None]
    oldest_glibc: tuple[int, int] = OLDEST_GLIBC
    ours: frozenset[str] = frozenset()
    signer: Signer | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    keyring: Keyring = field(default_factory=Keyring)

    def paper(self, body: bytes) -> Paper:
        """A statement, signed if we can: what is signed is what is stored."""
        return Paper(body, self.signer.sign(body) if self.signer else b"")

    def mirror(self, wanted: Wanted) -> Mirror:
        """The mirror of the project's repository. Raises `UsageError` when its table in pinwheel.toml is wrong."""
        return self._mirror_of(wanted.repository)

    def submodule(self, address: str, commit: str) -> Mirror | None:
        """The mirror of a submodule's repository, with the commit in it; None when pinwheel.toml does not name it."""
        if not self.keyring.declares(address):
            return None
        mirror = self._mirror_of(address)
        mirror.bring(commit)
        return mirror

    def _mirror_of(self, address: str) -> Mirror:
        return Mirror(address, self.cache / "git", self.environ, self.keyring.way(address))
