"""The engine: pypiserver, with our records and blobs behind its Backend interface, for all that we do not answer."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pypiserver import app_from_config, setup_routes_from_config
from pypiserver.backend import Backend, BackendProxy
from pypiserver.bottle_wrapper import FileUpload, FormsDict, HTTPResponse, request
from pypiserver.config import Config
from pypiserver.core import PkgFile

from pinwheel.index.answers import Answer, Environ, StartResponse
from pinwheel.index.entries import AlreadyThere, Closed, FileEntry, Outcome, Published, Taken
from pinwheel.index.grants import Principal
from pinwheel.index.intake.admission import Admitted
from pinwheel.index.intake.publishing import Publisher
from pinwheel.index.intake.upload import CONTENT, Received
from pinwheel.index.policy import Policy
from pinwheel.index.store.curating import Curator
from pinwheel.index.store.records import Records
from pinwheel.index.store.releases import Releases

PRINCIPAL = "pinwheel.principal"


class AdmittedFile:
    """What stands for an upload's content within pypiserver, which hands it on to the Backend without reading it."""

    def __init__(self, admitted: Admitted) -> None:
        self.admitted = admitted
        self.outcome: Outcome | None = None  # what became of it, once the Backend has it


class RecordsBackend(Backend):
    """Everything that pypiserver asks of its storage. Only admitted files can be added."""

    def __init__(
        self, config: Any, records: Records, releases: Releases, publisher: Publisher, curator: Curator
    ) -> None:
        super().__init__(config)
        self._records = records
        self._releases = releases
        self._counted = (-1, 0)
        self._publisher = publisher
        self._curator = curator

    def get_all_packages(self) -> Iterable[PkgFile]:
        return map(_package, self._records.every_file(offered=True))

    def find_project_packages(self, project: str) -> Iterable[PkgFile]:
        return [_package(entry) for entry in self._records.project(canonicalize_name(project)).files]

    def find_version(self, name: str, version: str) -> Iterable[PkgFile]:
        # asked for what is to be removed, so what is in quarantine is found as well
        try:
            wanted = Version(version)
        except InvalidVersion:
            return []
        found = (each for each in self._releases.of(canonicalize_name(name)) if Version(each.version) == wanted)
        return [_package(entry) for each in found for entry in each.files]

    def get_projects(self) -> Iterable[str]:
        return self._records.names()

    def exists(self, filename: str) -> bool:
        return self._records.file(filename) is not None

    def package_count(self) -> int:
        serial = self._records.serials().files
        if self._counted[0] != serial:
            self._counted = (serial, self._records.totals().files)
        return self._counted[1]

    def digest(self, pkg: PkgFile) -> str | None:
        return pkg.digest

    def add_package(self, filename: str, stream: BinaryIO | AdmittedFile) -> None:
        if not isinstance(stream, AdmittedFile):
            raise TypeError("only admitted files can be published")
        principal: Principal = request.environ[PRINCIPAL]
        outcome = stream.outcome = self._publisher.publish(stream.admitted, principal.name)
        if isinstance(outcome, Closed):
            raise plain(403, outcome.refusal(filename, stream.admitted.sha256))
        if isinstance(outcome, Taken):
            raise plain(409, outcome.refusal(filename, stream.admitted.sha256))

    def remove_package(self, pkg: PkgFile) -> None:
        principal: Principal = request.environ[PRINCIPAL]
        # pypiserver takes a version's files away one by one; ours go together, with the first
        self._curator.remove(pkg.pkgname, pkg.version, principal.name)


class Engine:
    """pypiserver with our Backend. Who calls was recognised before; its own actions only ask for that again."""

    def __init__(
        self,
        records: Records,
        releases: Releases,
        publisher: Publisher,
        curator: Curator,
        temporary: Path,
        policy: Policy,
    ) -> None:
        def recognised(_user: str, _password: str) -> bool:
            principal = request.environ.get(PRINCIPAL)
            return isinstance(principal, Principal) and principal.kind != "anonymous"

        config = Config.default_with_overrides(
            roots=[temporary],
            authenticate=["update"] if policy.anonymous_read else ["update", "list", "download"],
            auther=recognised,
            backend_arg="simple-dir",
            disable_fallback=True,
            overwrite=True,  # whether a file may be added is for the Backend to say, which never replaces one
        )
        config.backend = BackendProxy(RecordsBackend(config, records, releases, publisher, curator))
        self._app: Any = setup_routes_from_config(app_from_config(config), config)
        self._app.catchall = False  # what our Backend raises is for the caller to tell

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def carried_out(self, environ: Environ, form: Received, content: AdmittedFile | None) -> Answer:
        """pypiserver's answer to a form that was read already: bottle finds its own cache of the body filled."""
        filled: Any = FormsDict()  # type: ignore[no-untyped-call]
        for name, values in form.fields.items():
            for value in values:
                filled.append(name, value)
        if content is not None:
            filled[CONTENT] = FileUpload(content, CONTENT, form.filename)  # type: ignore[no-untyped-call]
        inner = environ | {"PATH_INFO": "/", "bottle.request.post": filled, "wsgi.input": io.BytesIO()}
        heard: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._app(inner, lambda status, headers, _exc=None: heard.append((status, list(headers)))))
        status, headers = heard[-1]
        kept = tuple((key, value) for key, value in headers if key.lower() != "content-length")
        if content is not None and isinstance(content.outcome, Published | AlreadyThere):
            told = "published" if isinstance(content.outcome, Published) else "already there"
            kept = (*kept, ("Pinwheel-Outcome", told))
        return Answer(int(status.split()[0]), kept, body)


def plain(status: int, message: str) -> HTTPResponse:
    """An answer that bottle sends as it is; its HTTPError would wrap the text in a page."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return HTTPResponse(status=status, body=message + "\n", headers=headers)  # type: ignore[no-untyped-call]


def _package(entry: FileEntry) -> PkgFile:
    package = PkgFile(entry.project, entry.version, fn=entry.filename, root="", relfn=entry.filename)
    package.digest = f"sha256={entry.sha256}"
    return package
