"""The write side: the forms of uploaders, read, judged, and carried out by the engine."""

from __future__ import annotations

from pathlib import Path

from packaging.utils import canonicalize_name

from pinwheel.index.answers import Answer, Environ
from pinwheel.index.grants import Principal, need
from pinwheel.index.intake.admission import judge
from pinwheel.index.intake.upload import received
from pinwheel.index.policy import Policy
from pinwheel.index.web.engine import AdmittedFile, Engine


class Uploading:
    """Answer POSTs of forms."""

    def __init__(self, engine: Engine, temporary: Path, policy: Policy) -> None:
        self._engine = engine
        self._temporary = temporary
        self._policy = policy

    def upload(self, environ: Environ, principal: Principal) -> Answer:
        """Admit the upload and let pypiserver carry it out: its answer is ours. Raises `Denied`, `Rejected`, `Stop`."""
        with received(environ, self._temporary, self._policy.largest_file_bytes) as form:
            action = form.field(":action") or "file_upload"
            form.fields[":action"] = [action]
            content: AdmittedFile | None = None
            if action == "file_upload":
                admitted = judge(form, self._policy.limits)
                need(principal, "upload", project=admitted.distribution.name)
                content = AdmittedFile(admitted)
            elif action == "remove_pkg" and principal.kind != "user":
                # pypiserver's own users may remove; a token that publishes must not be able to take away
                need(principal, "admin", project=canonicalize_name(form.field("name")))
            return self._engine.carried_out(environ, form, content)
