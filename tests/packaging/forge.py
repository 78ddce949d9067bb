"""What the tests of this station are made of: tiny git repositories, and an index in memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinwheel import archive, config
from pinwheel.errors import PinwheelError
from pinwheel.index.client import Attachment, Identity, IndexFile
from pinwheel.index.grants import Grant
from pinwheel.packaging.publishing.publish import Answer
from pinwheel.packaging.refs import Refs
from pinwheel.packaging.releasing.release import release
from pinwheel.packaging.releasing.selection import select
from pinwheel.packaging.repositories.access import Keyring, keyring
from pinwheel.packaging.repositories.git import Mirror, RepositoryUnreachable, ask
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.tools import Tools
from pinwheel.packaging.work import Failure, Release

BACKENDS = {
    "hatchling": '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
    "setuptools": '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n',
}

GIT_ENV = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@acme.example",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@acme.example",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}


def git(folder: Path, *words: str, **env: str) -> str:
    """Run git in `folder` and return what it printed."""
    return subprocess.run(
        ("git", "-c", "init.defaultBranch=main", *words),
        cwd=folder,
        env={**os.environ, **GIT_ENV, **env},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository with a working tree in `folder`."""

    folder: Path

    @property
    def address(self) -> str:
        return str(self.folder)

    @property
    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: Mapping[str, str], tag: str = "", *, annotated: bool = False) -> str:
        """Write, add and commit `files`, tag the commit, and return its id."""
        self.write(files)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", "change")
        if tag:
            git(self.folder, "tag", *(["-m", tag, tag] if annotated else [tag]))
        return self.head


def repository(folder: Path) -> Repository:
    """An empty repository."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    return Repository(folder)


def offered(mirror: Mirror) -> Refs:
    """What the mirror's remote offers now."""
    (answer,) = ask([mirror])
    if isinstance(answer, PinwheelError):
        raise answer
    return answer


def told(answer: object) -> str:
    """What a person is told of a repository that cannot be reached."""
    assert isinstance(answer, RepositoryUnreachable), answer
    return f"{answer.problem} {answer.where} {answer.remedy}"


def project_files(
    name: str, version: str = "1.0.0", *, backend: str = "hatchling", needs: tuple[str, ...] = (), extra: str = ""
) -> dict[str, str]:
    """The files of a tiny project: one package with one module."""
    package = name.replace("-", "_")
    wants = ", ".join(f'"{need}"' for need in needs)
    return {
        "pyproject.toml": BACKENDS[backend]
        + f'[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.10"\n'
        + f"dependencies = [{wants}]\n"
        + extra,
        f"{package}/__init__.py": f'"""{name}."""\n\nNAME = "{name}"\n',
    }


IN_TREE = """
import io, os, sys, tarfile, zipfile

def _metadata():
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {VERSION}"]
    return "\\n".join([*lines, *(f"Requires-Dist: {need}" for need in NEEDS), ""])

def _wheel(name, version, package):
    info = f"{name}-{version}.dist-info"
    yield f"{package}/__init__.py", open(f"{package}/__init__.py").read()
    yield f"{info}/METADATA", _metadata()
    yield f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: in-tree\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    yield f"{info}/RECORD", ""

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in _wheel(NAME, VERSION, NAME):
            wheel.writestr(path, text)
    return name

def build_sdist(folder, config_settings=None):
    top = f"{NAME}-{VERSION}"
    with tarfile.open(os.path.join(folder, f"{top}.tar.gz"), "w:gz") as sdist:
        for path in ("pyproject.toml", "backend.py", f"{NAME}/__init__.py", *MORE):
            sdist.add(path, f"{top}/{path}")
        text = _metadata().encode()
        member = tarfile.TarInfo(f"{top}/PKG-INFO")
        member.size = len(text)
        sdist.addfile(member, io.BytesIO(text))
    return f"{top}.tar.gz"

MORE = ()
"""
"""A build backend that lies in the repository and needs nothing installed: builds with it take no network."""


def tiny_files(name: str, version: str = "1.0.0", *, needs: tuple[str, ...] = (), backend: str = "") -> dict[str, str]:
    """The files of a project that is built by `IN_TREE`; `backend` is more Python at the backend's end."""
    package = name.replace("-", "_")
    wants = ", ".join(f'"{need}"' for need in needs)
    return {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = [{wants}]\n',
        "backend.py": f"NAME, VERSION, NEEDS = {package!r}, {version!r}, {needs!r}\n{IN_TREE}{backend}",
        f"{package}/__init__.py": f'"""{name}."""\n',
    }


@dataclass(slots=True)
class Shelf:
    """An index in memory that behaves as the real one does: immutable files, attachments of which the newest wins.
    `now` is the time at which it takes what it is given."""

    url: str = "http://index.invalid/"
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    papers: dict[tuple[str, str, str], list[bytes]] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    now: str = "2026-01-02T03:04:05+00:00"
    times: dict[tuple[str, ...], str] = field(default_factory=dict)
    refuse: Answer | None = None
    who: Identity = Identity("ci", "token", ("read", "upload"), (Grant("read"), Grant("upload")))  # noqa: RUF009 - frozen

    def whoami(self) -> Identity:
        return self.who

    def own_files(self, project: str) -> tuple[IndexFile, ...]:
        return tuple(
            IndexFile(
                filename=name,
                url=f"{self.url}files/{name}",
                sha256=hashlib.sha256(body).hexdigest(),
                size_bytes=len(body),
                version=str(archive.name_of(name).version),
                upload_time=self.times.get((owner, name), ""),
            )
            for (owner, name), body in sorted(self.blobs.items())
            if owner == project
        )

    def files(self, project: str) -> tuple[IndexFile, ...]:
        """As if an upstream had every project whose name does not begin with acme."""
        elsewhere = IndexFile(f"{project}-1.tar.gz", f"{self.url}files/{project}-1.tar.gz", "0" * 64, 1, "1")
        return self.own_files(project) if project.startswith("acme-") else (elsewhere,)

    def download(self, file: IndexFile, into: Path) -> Path:
        body = next(body for (_owner, name), body in self.blobs.items() if name == file.filename)
        assert hashlib.sha256(body).hexdigest() == file.sha256
        final = into / file.filename
        final.write_bytes(body)
        return final

    def attachment(self, project: str, version: str, name: str, sha256: str = "") -> bytes | None:
        stored = self.papers.get((project, version, name), [])
        wanted = [body for body in stored if not sha256 or hashlib.sha256(body).hexdigest() == sha256]
        return wanted[-1] if wanted else None

    def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
        self.papers.setdefault((project, version, name), []).append(body)
        self.times[project, version, name] = self.now
        return hashlib.sha256(body).hexdigest()

    def attachments(self, project: str, version: str) -> list[Attachment]:
        found = [(key[2], bodies[-1]) for key, bodies in sorted(self.papers.items()) if key[:2] == (project, version)]
        return [
            Attachment(name, hashlib.sha256(body).hexdigest(), len(body), self.times.get((project, version, name), ""))
            for name, body in found
        ]

    def upload(self, path: Path) -> Answer:
        """What twine would do."""
        self.uploads.append(path.name)
        if self.refuse:
            return self.refuse
        key = (archive.name_of(path.name).name, path.name)
        body = path.read_bytes()
        there = self.blobs.setdefault(key, body)
        self.times.setdefault(key, self.now)
        if there is not body:
            return Answer(200, "", known=True) if there == body else Answer(409, "the file exists with other bytes")
        return Answer(200, "")


@dataclass(slots=True)
class Notebook:
    """A ledger in memory."""

    entries: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def append(self, kind: str, subject: str, **about: object) -> object:
        self.entries.append((kind, subject, about))
        return None


@dataclass(slots=True)
class Workshop:
    """`Tools` for tests, with a place for everything, build dependencies coming from the machine's registry."""

    folder: Path
    registry: str
    uv_cache: Path
    shelf: Shelf = field(default_factory=Shelf)
    notebook: Notebook = field(default_factory=Notebook)
    said: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    token: str = ""
    keyring: Keyring = field(default_factory=Keyring)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def release(self, configuration: str) -> list[Release | Failure]:
        """Release every project of a pinwheel.toml."""
        loaded = config.Loaded(config.parse(configuration, "pinwheel.toml"), self.folder / "pinwheel.toml")
        self.keyring = keyring(loaded)
        return release(select(loaded, None, None, None, "", everything=True), self.tools)

    @property
    def tools(self) -> Tools:
        return Tools(
            index=self.shelf,
            upload=self.shelf.upload,
            events=self.notebook,
            resolver=Resolver(self.registry, self.token, self.environ.get("PIP_CERT", ""), self.uv_cache, self.environ),
            cache=self.cache,
            report=lambda who, what: self.said.append(f"{who}: {what}"),
            environ=self.environ,
            keyring=self.keyring,
        )
