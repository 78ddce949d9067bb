"""What a request is about, by its method and path alone."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import quote

from packaging.utils import canonicalize_name

from pinwheel.index.channels import MAIN
from pinwheel.index.entries import NAME, SHA256

READS = ("GET", "HEAD")
UPLOADS = ("/", "/legacy/", "/legacy", "/simple/", "/simple")
METADATA = ".metadata"
_CHANNEL = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether the process answers (`health`) and whether it can serve (`ready`). Needs no credential."""

    name: str


@dataclass(frozen=True, slots=True)
class Authorize:
    """A web server in front asks whether a request may be answered; which one is in that server's headers."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What is JSON for programs: `path` is what follows `/-/`."""

    path: str


@dataclass(frozen=True, slots=True)
class Root:
    """The page of all projects."""

    channel: str


@dataclass(frozen=True, slots=True)
class Project:
    """The page of a project by its normalised name (PEP 503)."""

    channel: str
    name: str


@dataclass(frozen=True, slots=True)
class File:
    """A file by its address on a page, or with `.metadata` behind it its core metadata (PEP 658)."""

    sha256: str
    filename: str

    @property
    def distribution(self) -> str:
        """The filename without `.metadata`."""
        return self.filename.removesuffix(METADATA)


@dataclass(frozen=True, slots=True)
class Package:
    """A file by pypiserver's address of it."""

    filename: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The same thing under its one address, relative to the request's."""

    location: str


@dataclass(frozen=True, slots=True)
class Form:
    """An uploader's form; only the form itself says for which project."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing can be there."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """Something is there, but not for this method."""

    allow: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Other:
    """What pypiserver answers: listings and documents about all projects."""


Route = (
    Probe | Authorize | ControlPlane | Root | Project | File | Package | Moved | Form | Missing | NotAllowed | Other
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def parse(method: str, path: str) -> Route:
    """The route of a decoded path, without its query."""
    if path.startswith("/-/"):
        return _control(method, path[len("/-/") :])
    if method == "POST" and path in UPLOADS:
        return Form()
    if path == "/simple":
        return _read(method, Moved("simple/"))
    if path.startswith("/simple/"):
        return _read(method, _page(MAIN, path[len("/simple/") :]))
    if path.startswith("/files/"):
        return _read(method, _file(path[len("/files/") :]))
    if path.startswith("/c/"):
        return _read(method, _channel(path))
    if path.startswith("/packages/") and path != "/packages/":
        return _read(method, _package(path[len("/packages/") :]))
    return Other()


def _read(method: str, route: Route) -> Route:
    return route if method in READS else NotAllowed(READS)


def _control(method: str, path: str) -> Route:
    if path in ("health", "ready"):
        return _read(method, Probe(path))
    if path == "authorize":
        return _read(method, Authorize())
    return ControlPlane(path)


def _channel(path: str) -> Route:
    channel, slash, rest = path[len("/c/") :].partition("/simple")
    if not slash or not _CHANNEL.fullmatch(channel):
        return Missing("there is nothing here")
    if channel == MAIN:
        # a page's links are relative to /simple/NAME/, so the channel's pages are there
        return Moved("/".join([".."] * (path.count("/") - 1)) + quote(f"/simple{rest}"))
    if not rest:
        return Moved("simple/")
    return _page(channel, rest[1:]) if rest.startswith("/") else Missing("there is nothing here")


def _page(channel: str, rest: str) -> Route:
    """What is below a channel's `simple/`."""
    if not rest:
        return Root(channel)
    name, slash, more = rest.partition("/")
    if not NAME.fullmatch(name):
        return Missing("this is no name of a project")
    if more:
        return Missing("there is nothing here")
    normal = canonicalize_name(name)
    if not slash:
        return Moved(f"{normal}/")
    return Project(channel, normal) if normal == name else Moved(f"../{normal}/")


def _file(rest: str) -> Route:
    sha256, _, filename = rest.partition("/")
    if not SHA256.fullmatch(sha256) or filename in ("", ".", "..") or "/" in filename:
        return Missing("there is no such file")
    return File(sha256, filename)


def _package(filename: str) -> Route:
    return Missing("there is no such file") if "/" in filename else Package(filename)
