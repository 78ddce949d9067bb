"""The indexes that are measured: how each takes a store over, and how it is started on what it has then."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import bcrypt
from ci.bench import children, index_for_bench, peer_venvs
from ci.bench.children import timed
from ci.bench.figures import PINWHEEL
from ci.bench.stores import Store

USER, PASSWORD = "bench", "bench-bench-bench-bench"
FILL_TIMEOUT_S = 240.0
"""For a peer's import of one store. One project of 5,000 files takes devpi-server longer: for each file it writes all
links of the project again."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running index. `simple` is the address of its root page; `upload` is empty where it takes none, and
    `log_in` is None where it knows no credentials; else it gives the value of an Authorization header."""

    pid: int
    simple: str
    upload: str = ""
    log_in: Callable[[], str] | None = None

    def authorization(self) -> dict[str, str]:
        """The header that a client with a credential sends; empty where there are none."""
        return {"Authorization": self.log_in()} if self.log_in else {}

    def page(self, project: str) -> str:
        return f"{self.simple}{project}/"


class Subject(Protocol):
    """One kind of index. `no_upload` says why it takes none; empty when it does."""

    name: str
    no_upload: str

    def fill(self, store: Store, data: Path) -> None:
        """Take the store over into `data`, which does not exist yet. Raises `NotInstalled`, `BenchFailed`."""

    def serving(self, data: Path, log: Path) -> AbstractContextManager[Served]:
        """Serve what `fill` made, from when it answers."""


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Pinwheel:
    """pinwheel itself, by its commands. `files`: it also keeps its pages as files, beside its data."""

    name = PINWHEEL
    no_upload = ""

    def __init__(self, *, files: bool = False) -> None:
        self._files = files

    def fill(self, store: Store, data: Path) -> None:
        within_s = children.COMMAND_TIMEOUT_S  # it must not fail, also where others use the machine
        log = data.with_suffix(".log")
        with index_for_bench.started(data, log, "--packages", str(store.folder), within_s=within_s):
            pass
        secret = index_for_bench.token(data, data.with_suffix(".log"))
        data.with_suffix(".token").write_text(secret)

    @contextlib.contextmanager
    def serving(self, data: Path, log: Path) -> Iterator[Served]:
        secret = data.with_suffix(".token").read_text()
        static = ("--static", str(static_of(data))) if self._files else ()
        with index_for_bench.started(data, log, "--anonymous-read", *static) as index:
            yield Served(
                index.pid, f"{index.url}simple/", f"{index.url}legacy/", functools.partial(basic, "__token__", secret)
            )


def static_of(data: Path) -> Path:
    """Where pinwheel keeps its pages as files."""
    return data.with_suffix(".static")


class Stock:
    """pypiserver as it comes, over the store itself. `closed`: each request needs a password of an htpasswd file."""

    name = "stock pypiserver"
    no_upload = ""

    def __init__(self, *, closed: bool = False) -> None:
        self._closed = closed

    def fill(self, store: Store, data: Path) -> None:
        peer_venvs.program("pypiserver", "pypi-server")
        # its own copy, because it takes uploads into it
        shutil.copytree(store.folder, data, copy_function=os.link)
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
        data.with_suffix(".htpasswd").write_text(f"{USER}:{hashed}\n")

    @contextlib.contextmanager
    def serving(self, data: Path, log: Path) -> Iterator[Served]:
        port = children.free_port()
        guarded = ("-a", "update,list,download", "-P", str(data.with_suffix(".htpasswd")))
        argv = (
            *(str(peer_venvs.program("pypiserver", "pypi-server")), "run", "--interface", "127.0.0.1"),
            *("--port", str(port), "--disable-fallback", "--server", "auto"),
            *(guarded if self._closed else ("-a", ".", "-P", ".")),
            str(data),
        )
        url = f"http://127.0.0.1:{port}/"
        # the page /health asks for nothing, not even the listing
        with children.serving(argv, f"{url}health", log) as pid:
            log_in = functools.partial(basic, USER, PASSWORD) if self._closed else None
            yield Served(pid, f"{url}simple/", url, log_in)


class Devpi:
    """devpi-server with one index of its own and no mirror."""

    name = "devpi-server"
    no_upload = ""

    def fill(self, store: Store, data: Path) -> None:
        """By its own import of an export, which is many times faster than uploads."""
        program = peer_venvs.program("devpi-server", "devpi-import")
        dump = data.with_suffix(".dump")
        _devpi_export(store, dump)
        argv = (str(program), "--serverdir", str(data), "--no-root-pypi", "--no-events", "--hard-links", str(dump))
        timed(argv, data.with_suffix(".log"), env=_quiet(), timeout_s=FILL_TIMEOUT_S)
        shutil.rmtree(dump)

    @contextlib.contextmanager
    def serving(self, data: Path, log: Path) -> Iterator[Served]:
        port = children.free_port()
        argv = (
            *(str(peer_venvs.program("devpi-server", "devpi-server")), "--serverdir", str(data)),
            *("--host", "127.0.0.1", "--port", str(port), "--offline-mode"),
        )
        url = f"http://127.0.0.1:{port}/"
        with children.serving(argv, f"{url}+status", log, env=_quiet()) as pid:
            log_in = functools.partial(_devpi_login, url)
            yield Served(pid, f"{url}root/dev/+simple/", f"{url}root/dev/", log_in)


class Peryx:
    """peryx with one hosted index."""

    name = "peryx"
    no_upload = ""

    def fill(self, store: Store, data: Path) -> None:
        program = peer_venvs.program("peryx", "peryx")
        argv = (str(program), "import-dir", "--config", str(_peryx_configuration(data)), "hosted", str(store.folder))
        timed(argv, data.with_suffix(".log"), timeout_s=FILL_TIMEOUT_S)

    @contextlib.contextmanager
    def serving(self, data: Path, log: Path) -> Iterator[Served]:
        port = children.free_port()
        configuration = _peryx_configuration(data, port)
        argv = (str(peer_venvs.program("peryx", "peryx")), "serve", "--config", str(configuration))
        url = f"http://127.0.0.1:{port}/hosted/"
        with children.serving(argv, f"{url}simple/", log) as pid:
            yield Served(pid, f"{url}simple/", url, functools.partial(basic, USER, PASSWORD))


class SimpleRepository:
    """simple-repository-server over a tree of links to the store."""

    name = "simple-repository-server"
    no_upload = "it takes no uploads"

    def fill(self, store: Store, data: Path) -> None:
        peer_venvs.program("simple-repository-server", "simple-repository-server")
        for wheel in store.folder.glob("*.whl"):
            project = data / wheel.name.partition("-")[0].replace("_", "-")
            project.mkdir(parents=True, exist_ok=True)
            os.link(wheel, project / wheel.name)

    @contextlib.contextmanager
    def serving(self, data: Path, log: Path) -> Iterator[Served]:
        port = children.free_port()
        argv = (
            str(peer_venvs.program("simple-repository-server", "simple-repository-server")),
            *("--host", "127.0.0.1", "--port", str(port), str(data)),
        )
        url = f"http://127.0.0.1:{port}/simple/"
        with children.serving(argv, url, log) as pid:
            yield Served(pid, url)


SUBJECTS: tuple[Subject, ...] = (Pinwheel(), Stock(), Devpi(), Peryx(), SimpleRepository())


def _quiet() -> dict[str, str]:
    return os.environ | {"PYTHONWARNINGS": "ignore"}


def _devpi_export(store: Store, dump: Path) -> None:
    """What `devpi-export` would have written of the store. Everybody may upload."""
    index = dump / "root" / "dev"
    index.mkdir(parents=True)
    projects: dict[str, dict[str, object]] = {}
    files: list[dict[str, object]] = []
    for wheel in sorted(store.folder.glob("*.whl")):
        stem, version = wheel.name.split("-")[:2]
        name = stem.replace("_", "-")
        projects.setdefault(name, {})[version] = {"name": name, "version": version, "requires_python": ">=3.10"}
        os.link(wheel, index / wheel.name)
        about = {
            "last_modified": "Sat, 21 Nov 2026 10:00:00 GMT",
            "hashes": {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()},
        }
        file = {"type": "releasefile", "projectname": name, "version": version, "relpath": f"root/dev/{wheel.name}"}
        files.append({**file, "entrymapping": about, "log": []})
    configuration = {"type": "stage", "bases": [], "volatile": False, "acl_upload": [":ANONYMOUS:"]}
    document = {
        **{"dumpversion": "2", "pythonversion": [3, 11], "devpi_server": "6.20.0"},
        "users": {"root": {"username": "root"}},
        "indexes": {"root/dev": {"indexconfig": configuration, "projects": projects, "files": files}},
    }
    (dump / "dataindex.json").write_text(json.dumps(document))


def _devpi_login(url: str) -> str:
    """Make a user, unless there is one, and log in: what its own client keeps and sends instead of the password."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    said = b""
    with contextlib.closing(connection):
        for method, path, document in (
            ("PUT", f"/{USER}", {"password": PASSWORD}),
            ("POST", "/+login", {"user": USER, "password": PASSWORD}),
        ):
            connection.request(method, path, json.dumps(document), {"Content-Type": "application/json"})
            said = connection.getresponse().read()
    try:
        return basic(USER, json.loads(said)["result"]["password"])
    except (ValueError, KeyError) as error:
        raise children.BenchFailed(f"{url} does not log in: {said[:300].decode(errors='replace')}") from error


def _peryx_configuration(data: Path, port: int = 4433) -> Path:
    file = data.with_suffix(".toml")
    file.write_text(
        f"""
host = "127.0.0.1"
port = {port}
data_dir = "{data}"

[[index]]
ecosystem = "pypi"
name = "hosted"
hosted = true

[[index.access_token]]
name = "bench"
secret = "{PASSWORD}"
actions = ["read", "write"]
"""
    )
    return file
