"""An index in memory: the part of the client's face that deploys use."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.deploy import wheels

from pinwheel.events import Event
from pinwheel.index.client import (
    Attachment,
    Damaged,
    Holder,
    IndexFile,
    IndexUnreachable,
    Lease,
    LeaseHeld,
    WrongCredential,
)


class MemoryIndex:
    """Holds `shop` in versions with locks. `holder` set makes its leases refused; `away` makes everything fail,
    `expired` everything that needs our credential, and `damaged` every download."""

    url = "http://index.example/"

    def __init__(self, *versions: str) -> None:
        self.holder: Holder | None = None
        self.away = False
        self.expired = False
        self.damaged = False
        self.downloaded: list[str] = []
        self.recorded: list[Event] = []
        self.minted: list[tuple[str, tuple[str, ...], float]] = []
        self.released: list[int] = []
        self.leased_for: list[tuple[str, ...]] = []
        self._tokens = itertools.count(1)
        self._files: dict[str, list[IndexFile]] = {"uv": [self._file("uv-0.9.1-py3-none-manylinux_2_17_x86_64.whl")]}
        self._files["supervisor"] = [self._file("supervisor-4.3.0-py2.py3-none-any.whl")]
        self._attached: dict[tuple[str, str], bytes] = {}
        for version in versions:
            self.publish(version)

    def publish(self, version: str) -> str:
        """Publish and lock a version of shop; its release's name."""
        file = self._file(f"shop-{version}-py3-none-any.whl")
        self._files.setdefault("shop", []).append(file)
        pylock = wheels.pylock("shop", version, file.sha256)
        self._attached[version, "pylock.toml"] = pylock
        self._attached[version, "requirements.txt"] = f"shop=={version} --hash=sha256:{file.sha256}\n".encode()
        return f"{version}-{hashlib.sha256(pylock).hexdigest()[:8]}"

    def attach(self, version: str, name: str, body: bytes) -> None:
        """Lay a document beside the version."""
        self._attached[version, name] = body

    def put(self, project: str, version: str) -> IndexFile:
        """Publish a wheel of a project that needs no lock."""
        file = self._file(f"{project}-{version}-py3-none-any.whl")
        self._files.setdefault(project, []).append(file)
        return file

    def projects(self) -> tuple[str, ...]:
        self._answer()
        return tuple(sorted({*self._files} - {"uv", "supervisor"}))

    def files(self, project: str) -> tuple[IndexFile, ...]:
        self._answer()
        return tuple(self._files.get(project, ()))

    def download(self, file: IndexFile, into: Path) -> Path:
        self._answer()
        if self.damaged:
            raise Damaged(f"{file.filename} arrived with another sha256", where=self.url)
        self.downloaded.append(file.filename)
        into.mkdir(parents=True, exist_ok=True)
        (into / file.filename).write_bytes(file.filename.encode())
        return into / file.filename

    def remove(self, project: str) -> None:
        del self._files[project]

    def own_files(self, project: str) -> tuple[IndexFile, ...]:
        return () if project in ("uv", "supervisor") else self.files(project)

    def attachment(self, project: str, version: str, name: str, sha256: str = "") -> bytes | None:
        self._answer()
        return self._attached.get((version, name))

    def attachments(self, project: str, version: str) -> list[Attachment]:
        return [Attachment(name, "", len(body), "") for (of, name), body in self._attached.items() if of == version]

    def acquire_lease(
        self, environment: str, owner: str, rollout: str, ttl_s: float, projects: Sequence[str] = ()
    ) -> Lease:
        self._answer()
        self.leased_for.append(tuple(projects))
        if self.holder:
            raise LeaseHeld(environment, self.holder)
        return Lease(environment, next(self._tokens), owner, rollout, "", ttl_s)

    def renew_lease(self, lease: Lease, ttl_s: float) -> Lease:
        return lease

    def release_lease(self, lease: Lease) -> None:
        self._answer()
        self.released.append(lease.token)

    def lease_holder(self, environment: str) -> Holder | None:
        self._answer()
        return self.holder

    def end_lease(self, environment: str, token: int) -> bool:
        ours = self.holder is not None and self.holder.token == token
        if ours:
            self.holder = None
        return ours

    def mint_token(self, name: str, scopes: Sequence[str], ttl_s: float) -> str:
        self.minted.append((name, tuple(scopes), ttl_s))
        return "short-lived"

    def record(self, events: Sequence[Event]) -> None:
        self._answer()
        self.recorded += [event for event in events if event not in self.recorded]

    def events(
        self, *, after: int = 0, environment: str = "", subject: str = "", kind: str = ""
    ) -> list[dict[str, Any]]:
        known = [event.document() | {"serial": serial} for serial, event in enumerate(self.recorded, 1)]
        wanted = {"environment": environment, "subject": subject, "kind": kind}
        fits = [each for each in known if all(each[key] == text for key, text in wanted.items() if text)]
        return [event for event in fits if event["serial"] > after][:3]

    def _answer(self) -> None:
        if self.away:
            raise IndexUnreachable("the index does not answer", where=self.url)
        if self.expired:
            raise WrongCredential("the index does not know this token", where=self.url)

    def _file(self, filename: str) -> IndexFile:
        sha256 = hashlib.sha256(filename.encode()).hexdigest()
        return IndexFile(filename, f"{self.url}files/{sha256}/{filename}", sha256, 10, filename.split("-")[1])
