"""The one HTTP client of the index: files, events, leases, tokens and attachments over HTTP.

Everything outside the server's own modules talks to an index through this class, never to its database.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.utils import canonicalize_name

from pinwheel import config
from pinwheel.events import Event
from pinwheel.index.channels import MAIN
from pinwheel.index.client_values import (
    Attachment,
    Damaged,
    Fenced,
    Holder,
    Identity,
    IndexFile,
    IndexUnreachable,
    Lease,
    LeaseHeld,
    NoSuchRelease,
    Release,
    WrongCredential,
    file_of,
    holder_of,
    identity_of,
    lease_of,
    release_of,
)
from pinwheel.index.exchange import Exchange, is_ours, reason_of
from pinwheel.index.globs import matching
from pinwheel.ledger import SinkRefused

__all__ = [
    "Attachment",
    "Damaged",
    "Fenced",
    "Holder",
    "Identity",
    "IndexClient",
    "IndexFile",
    "IndexUnreachable",
    "Lease",
    "LeaseHeld",
    "NoSuchRelease",
    "Release",
    "WrongCredential",
    "from_config",
    "matching",
]

JSON_V1 = "application/vnd.pypi.simple.v1+json"
CHUNK_BYTES = 256 * 1024
EVENTS_A_REQUEST = 500
TIMEOUT_S = 10.0


class IndexClient:
    """Talk to the index at `url` (the base, without `simple/`) with an API token.

    Safe to share between threads. `timeout_s` is the wait for one answer to begin, not for a whole download.
    Every method may raise `IndexUnreachable`, `WrongCredential` and, for an answer that makes no sense,
    `PinwheelError`.
    """

    def __init__(self, url: str, token: str = "", *, ca_file: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """Raises `UsageError` when `url` is empty, no http(s) address, or carries a credential."""
        self._exchange = Exchange(url, token, ca_file=ca_file, timeout_s=timeout_s)
        self.url = self._exchange.url
        self._token = token

    def simple_url(self, channel: str = MAIN) -> str:
        """The address that an installer needs, without a credential."""
        return self.url + ("simple/" if channel == MAIN else f"c/{quote(channel, safe='')}/simple/")

    def credentialed_simple_url(self, channel: str = MAIN) -> str:
        """The same with the credential in it: for a child's environment only, never argv, never a log."""
        if not self._token:
            return self.simple_url(channel)
        scheme, rest = self.simple_url(channel).split("://", 1)
        return f"{scheme}://__token__:{quote(self._token, safe='')}@{rest}"

    def health(self) -> dict[str, Any]:
        """`{"status": "ok", "version": …}`; needs no credential."""
        return self._exchange.json("GET", "-/health")

    def whoami(self) -> Identity:
        """Whom the index takes us for, and what that one may do."""
        return identity_of(self._exchange.json("GET", "-/whoami"))

    # files

    def projects(self, channel: str = MAIN) -> tuple[str, ...]:
        """The names of the projects that have files of the index's own in the channel, sorted."""
        path = self.simple_url(channel).removeprefix(self.url)
        page = self._exchange.parsed(self._exchange.send("GET", path, headers={"Accept": JSON_V1}), path)
        return tuple(each["name"] for each in page.get("projects", ()))

    def files(self, project: str, channel: str = MAIN) -> tuple[IndexFile, ...]:
        """Every file of `project` in the channel, in the page's order; () when it does not exist.

        For third parties' projects: an upstream hears the name when nothing of it was published here.
        """
        name = canonicalize_name(project)
        path = f"{self.simple_url(channel).removeprefix(self.url)}{quote(name, safe='')}/"
        answer = self._exchange.send("GET", path, headers={"Accept": JSON_V1}, slow=True)
        if answer.status == 404:
            return ()
        if answer.status == 307:  # public projects are the same in every channel
            return self.files(project)
        page = self._exchange.parsed(answer, path)
        return tuple(file_of(entry, self.url + path) for entry in page.get("files", ()))

    def own_files(self, project: str) -> tuple[IndexFile, ...]:
        """The files of `project` that were published here, by filename; () when none were. No upstream hears of it."""
        path = f"-/projects/{quote(canonicalize_name(project), safe='')}"
        return tuple(file_of(entry, self.url + path) for entry in self._exchange.json("GET", path)["files"])

    def download(self, file: IndexFile, into: Path) -> Path:
        """Fetch `file` into the folder `into`. The final name appears only when the bytes are all there and
        have the right sha256. Raises `Damaged`."""
        into.mkdir(parents=True, exist_ok=True)
        final = into / _plain(file.filename)
        descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=into)
        digest = hashlib.sha256()
        try:
            with os.fdopen(descriptor, "wb") as out, self._exchange.opened(file.url) as answer:
                for chunk in answer.stream(CHUNK_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
            if digest.hexdigest() != file.sha256:
                raise Damaged(
                    f"{file.filename} arrived with sha256 {digest.hexdigest()}, promised was {file.sha256}",
                    where=file.url,
                    remedy="`pinwheel index.verify` on the index's machine says whether its copy is damaged",
                )
            Path(partial).replace(final)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(partial).unlink()
        return final

    def metadata(self, file: IndexFile) -> bytes:
        """The file's core metadata (PEP 658). Raises `Damaged`."""
        with self._exchange.opened(file.url + ".metadata") as answer:
            body: bytes = answer.data
        if file.core_metadata_sha256 and hashlib.sha256(body).hexdigest() != file.core_metadata_sha256:
            raise Damaged(f"the metadata of {file.filename} has another sha256 than promised", where=file.url)
        return body

    # releases

    def releases(self, project: str) -> tuple[Release, ...]:
        """The releases of `project` that have files here, the oldest version first."""
        path = f"-/releases/{quote(canonicalize_name(project), safe='')}"
        return tuple(release_of(entry) for entry in self._exchange.json("GET", path)["releases"])

    def yank(self, project: str, version: str, reason: str) -> bool:
        """Let installers choose the release only by its version. False when it was yanked so before.

        This and the following raise `NoSuchRelease`.
        """
        return self._decided(project, version, "yank", {"reason": reason})

    def unyank(self, project: str, version: str) -> bool:
        """Take the yank back. False when there was none."""
        return self._decided(project, version, "unyank", {})

    def promote(self, project: str, version: str, channel: str) -> bool:
        """Show the release's files in the channel. False when they all were there before."""
        return self._decided(project, version, "promote", {"channel": channel})

    def demote(self, project: str, version: str, channel: str) -> bool:
        """Show none of them there. False when none was there before."""
        return self._decided(project, version, "demote", {"channel": channel})

    def set_status(self, project: str, status: str, reason: str) -> bool:
        """Say how the project stands: one of `entries.STATUSES`. False when it was so before."""
        path = f"-/projects/{quote(canonicalize_name(project), safe='')}/status"
        return self._changed("PUT", path, {"status": status, "reason": reason})

    def _decided(self, project: str, version: str, act: str, sent: Mapping[str, Any]) -> bool:
        name = quote(canonicalize_name(project), safe="")
        return self._changed("POST", f"-/releases/{name}/{quote(version, safe='')}/{act}", sent)

    def _changed(self, method: str, path: str, sent: Mapping[str, Any]) -> bool:
        # deciding the same again changes nothing
        answer = self._exchange.send(method, path, body=sent, repeatable=True)
        if answer.status == 404 and is_ours(answer.data):
            raise NoSuchRelease(
                reason_of(answer.data), where=self.url, remedy="`pinwheel index.list --name NAME` shows what there is"
            )
        return bool(self._exchange.parsed(answer, path)["changed"])

    # events

    def record(self, events: Sequence[Event]) -> None:
        """Deliver `events`; the index knows one that it already has by its id.

        Raises `SinkUnreachable`, and `SinkRefused` for what this index does not understand.
        """
        for start in range(0, len(events), EVENTS_A_REQUEST):
            documents = [event.document() for event in events[start : start + EVENTS_A_REQUEST]]
            answer = self._exchange.send("POST", "-/events", body={"events": documents}, repeatable=True)
            if answer.status == 400:
                raise SinkRefused(f"the index does not take an event: {reason_of(answer.data)}", where=self.url)
            self._exchange.parsed(answer, "-/events")

    def events(
        self, *, after: int = 0, limit: int = 1000, subject: str = "", environment: str = "", kind: str = ""
    ) -> list[dict[str, Any]]:
        """Recorded events in the order of their `serial`, beginning after the serial `after`; empty text means any."""
        fields = {"after": after, "limit": limit, "subject": subject, "environment": environment, "kind": kind}
        answer = self._exchange.json(
            "GET", "-/events", fields={key: str(value) for key, value in fields.items() if value}
        )
        return list(answer["events"])

    # leases

    def acquire_lease(
        self, environment: str, owner: str, rollout: str, ttl_s: float, projects: Sequence[str] = ()
    ) -> Lease:
        """Take the environment for `ttl_s`, to deploy `projects` to it; without any, all that there are.

        Raises `LeaseHeld` when somebody has it, and `WrongCredential` when our token is not for all of that.
        """
        asked = {"owner": owner, "rollout": rollout, "ttl_s": ttl_s, "projects": list(projects)}
        answer = self._exchange.send("POST", _lease(environment), body=asked)
        if answer.status == 409:
            document = json.loads(answer.data)
            raise LeaseHeld(environment, holder_of(document["holder"]))
        return lease_of(environment, self._exchange.parsed(answer, _lease(environment)))

    def renew_lease(self, lease: Lease, ttl_s: float) -> Lease:
        """The same lease, from now on for `ttl_s`. Raises `Fenced` when it is no longer ours."""
        path = _lease(lease.environment)
        answer = self._exchange.send("PUT", path, body={"token": lease.token, "ttl_s": ttl_s}, repeatable=True)
        if answer.status == 409:
            raise Fenced(
                f"the lease on {lease.environment} is no longer ours (token {lease.token})",
                where=lease.environment,
                remedy="see `pinwheel deploy.status`; another rollout may have taken over",
            )
        return lease_of(lease.environment, self._exchange.parsed(answer, path))

    def release_lease(self, lease: Lease) -> None:
        """Give it back. A lease that is no longer ours is left alone, without an error."""
        self.end_lease(lease.environment, lease.token)

    def end_lease(self, environment: str, token: int) -> bool:
        """End the lease with that fencing token, whoever holds it; False when it had ended before."""
        answer = self._exchange.json("DELETE", _lease(environment), fields={"token": str(token)}, repeatable=True)
        return bool(answer["released"])

    def lease_holder(self, environment: str) -> Holder | None:
        """Who holds the environment now."""
        holder = self._exchange.json("GET", _lease(environment))["holder"]
        return holder_of(holder) if holder else None

    # tokens

    def mint_token(self, name: str, scopes: Sequence[str], ttl_s: float) -> str:
        """A short-lived token for reading, made with the right of our own. The index refuses other scopes."""
        return str(
            self._exchange.json("POST", "-/tokens", {"name": name, "scopes": list(scopes), "ttl_s": ttl_s})["token"]
        )

    # attachments

    def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
        """Store `body` (at most 8 MiB) beside the version and return its sha256. The newest of a name wins."""
        path = _attachment(project, version, name)
        return str(self._exchange.parsed(self._exchange.send("PUT", path, body=body, repeatable=True), path)["sha256"])

    def attachment(self, project: str, version: str, name: str, sha256: str = "") -> bytes | None:
        """The newest attachment of that name, or the one with `sha256`; None when there is none."""
        path = _attachment(project, version, name)
        answer = self._exchange.send("GET", path, fields={"sha256": sha256} if sha256 else None)
        if answer.status == 404 and is_ours(answer.data):
            return None
        self._exchange.refuse(answer, path)
        return answer.data

    def attachments(self, project: str, version: str) -> list[Attachment]:
        """What is stored beside the version, the newest of each name, sorted by name."""
        entries = self._exchange.json("GET", _attachment(project, version))["attachments"]
        return [Attachment(each["name"], each["sha256"], each["size"], each["at"]) for each in entries]


def from_config(loaded: config.Loaded, timeout_s: float = TIMEOUT_S) -> IndexClient:
    """The client for the configured index. Raises `UsageError` when none is configured."""
    index = loaded.config.index
    ca_file = str(loaded.path(index.ca_file)) if index.ca_file else ""
    return IndexClient(index.url, config.token(loaded), ca_file=ca_file, timeout_s=timeout_s)


def _plain(filename: str) -> str:
    if "/" in filename or "\\" in filename or filename in ("", ".", ".."):
        raise Damaged(f"the index names a file {filename!r}", remedy="do not trust this index")
    return filename


def _lease(environment: str) -> str:
    return f"-/leases/{quote(environment, safe='')}"


def _attachment(project: str, version: str, name: str = "") -> str:
    parts = [canonicalize_name(project), version, *([name] if name else [])]
    return "-/attachments/" + "/".join(quote(part, safe="") for part in parts)
