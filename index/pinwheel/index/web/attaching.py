"""The routes of attachments: small files beside a version, as locks and statements are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from pinwheel.index.answers import Answer, Environ, document, query_of
from pinwheel.index.grants import Principal, need
from pinwheel.index.intake.body import bad, bytes_of
from pinwheel.index.store.attachments import Attachments, StoredAttachment
from pinwheel.index.store.blobs import Blobs
from pinwheel.index.store.records import Records
from pinwheel.index.store.storing import recording

MOST_ATTACHMENT_BYTES = 8 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,299}")


class Attaching:
    """Answer for attachments. `now` is RFC 3339."""

    def __init__(self, attachments: Attachments, records: Records, blobs: Blobs, now: Callable[[], str]) -> None:
        self._attachments = attachments
        self._records = records
        self._blobs = blobs
        self._now = now

    def answer(self, environ: Environ, principal: Principal, method: str, parts: list[str]) -> Answer:
        """Store one (PUT), or send one or the list of them (GET); `parts` are of PROJECT/VERSION/NAME. Raises `Stop`,
        `Denied`."""
        scope = "upload" if method == "PUT" else "read"
        need(principal, scope)
        project, release, name = (*parts, "", "")[:3]
        if len(parts) not in (2, 3) or not project or (len(parts) == 3 and not _NAME.fullmatch(name)):
            return document(404, {"error": "attachments are at PROJECT/VERSION/NAME"})
        project = canonicalize_name(project)
        try:
            release = canonicalize_version(Version(release))
        except InvalidVersion as error:
            raise bad(f"{release!r} is no version") from error
        need(principal, scope, project=project)
        if method == "PUT":
            if not name:
                raise bad("the attachment needs a name")
            return self._attach(environ, principal, (project, release, name))
        stored = self._attachments.beside(project, release, name)
        if not name:
            newest = {each.name: each for each in reversed(stored)}
            listed = [_listed(newest[key]) for key in sorted(newest)]
            return document(200, {"attachments": listed})
        wanted = query_of(environ).get("sha256", "")
        found = next((each for each in stored if wanted in ("", each.sha256)), None)
        blob = self._blobs.open(found.sha256) if found else None
        if found is None or blob is None:
            return document(404, {"error": f"{project} {release} has no attachment {name}"})
        with blob:
            body = blob.read()
        kind = ("Content-Type", "application/octet-stream")
        return Answer(200, (kind, ("ETag", f'"{found.sha256}"'), ("Cache-Control", "no-cache")), body)

    def _attach(self, environ: Environ, principal: Principal, beside: tuple[str, str, str]) -> Answer:
        body = bytes_of(environ, MOST_ATTACHMENT_BYTES)
        sha256 = hashlib.sha256(body).hexdigest()
        project, release, name = beside
        stored = StoredAttachment(name, sha256, len(body), self._now())
        with recording(self._records, self._blobs, sha256):
            self._blobs.put(body, sha256)
            self._attachments.add(project, release, stored, principal.name)
        return document(200, {"sha256": sha256})


def _listed(stored: StoredAttachment) -> dict[str, Any]:
    return {"name": stored.name, "sha256": stored.sha256, "size": stored.size_bytes, "at": stored.at}
