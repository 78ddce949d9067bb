"""An index as a process, an index as a function, and an upstream that counts."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import io
import json
import os
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import forked
from tests.index.making import Made, form

from pinwheel.index.credentials.access import new_token
from pinwheel.index.grants import granted
from pinwheel.index.server.assembly import now, stored

WITHIN_S = 60.0
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
PINWHEEL = (sys.executable, "-P", "-m", "pinwheel")


def environment(**extra: str) -> dict[str, str]:
    """The environment of a child: nothing of pip's, uv's, twine's or pinwheel's configuration leaks in."""
    foreign = ("PIP_", "UV_", "TWINE_", "PINWHEEL_", "VIRTUAL_ENV")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return inherited | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"} | extra


def make_token(
    folder: Path,
    name: str,
    *scopes: str,
    projects: Sequence[str] = ("*",),
    environments: Sequence[str] = ("*",),
    **about: Any,
) -> str:
    """An API token made in the data folder, as `index.token-create` does it."""
    secret, token = new_token(name, granted(scopes, projects, environments), created_at=now(), **about)
    index = stored(folder, create=True)
    try:
        assert index.tokens.add(token)
    finally:
        index.close()
    return secret


def authorization(token: str, user: str = "__token__") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()} if token else {}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Server:
    """A running `pinwheel index.serve`."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str
    log: list[str] = field(default_factory=list)

    def token(self, name: str, *scopes: str, **about: Any) -> str:
        return make_token(self.folder, name, *scopes, **about)

    def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One exchange on a connection of its own; header names come back in lower case."""
        parts = urlsplit(self.url)
        connect: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        if parts.scheme == "https":  # whose certificate it is, is for clients to check
            connect = partial(http.client.HTTPSConnection, context=ssl._create_unverified_context())  # noqa: S323
        connection = connect(str(parts.hostname), parts.port, timeout=WITHIN_S)
        try:
            connection.request(method, path, body, dict(headers or {}) | authorization(token))
            answer = connection.getresponse()
            named = {key.lower(): value for key, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read())
        finally:
            connection.close()

    def upload(self, made: Made, token: str, path: str = "/", filename: str = "", **fields: str) -> Reply:
        content_type, body = form(made, filename, **fields)
        return self.ask("POST", path, token, body=body, headers={"Content-Type": content_type})

    def workers(self) -> list[int]:
        """The process ids of the server's children."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(WITHIN_S)

    def upstream_requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log if line.startswith("{")]


@contextmanager
def running(folder: Path, *flags: str, cwd: Path | None = None, **env: str) -> Iterator[Server]:
    """Start a server on a free port and wait until it is ready; it is gone when the context ends."""
    argv = (*PINWHEEL, "index.serve", "--data", str(folder), "--port", "0", *flags)
    # a proxy of this machine is for others than the servers of a test
    env.setdefault("no_proxy", f"127.0.0.1,{os.environ.get('no_proxy') or os.environ.get('NO_PROXY', '')}")
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, env=environment(**env), cwd=cwd, start_new_session=True)
    server = Server(process, folder, "")
    reader = threading.Thread(target=_read, args=(process, server.log), daemon=True)
    reader.start()
    try:
        eventually(lambda: process.poll() is not None or any(line.startswith("serving ") for line in server.log))
        ready = [line for line in server.log if line.startswith("serving ")]
        assert ready, "\n".join(server.log)
        server.url = ready[0].rpartition(" at ")[2]
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(WITHIN_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        reader.join(WITHIN_S)


def run_pinwheel(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return forked.command(*arguments, env=environment(**env), cwd=cwd)


def eventually(true: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait until `true()`, or fail after the deadline."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        select.select([], [], [], 0.01)


def _read(process: subprocess.Popen[bytes], into: list[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        into += [line.decode().rstrip("\n")]  # at once: others look at it meanwhile


def call(
    app: Any,
    method: str,
    path: str,
    token: str = "",
    *,
    query: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
) -> Reply:
    """Ask a WSGI application without a server, as somebody at that address."""
    path, _, in_path = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query or in_path,
        "REMOTE_ADDR": address,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "CONTENT_LENGTH": str(len(body)) if body else "",
    }
    for key, value in (dict(headers or {}) | authorization(token)).items():
        name = key.upper().replace("-", "_")
        environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"] = value
    heard: list[tuple[str, list[tuple[str, str]]]] = []
    chunks = app(environ, lambda status, headers, _exc=None: heard.append((status, headers)))
    try:
        content = b"".join(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    status, sent = heard[-1]
    return Reply(int(status.split()[0]), {key.lower(): value for key, value in sent}, content)


def upload(app: Any, made: Made, token: str, path: str = "/", filename: str = "", **fields: str) -> Reply:
    content_type, body = form(made, filename, **fields)
    return call(app, "POST", path, token, body=body, headers={"Content-Type": content_type})


@dataclass
class Upstream:
    """An index that speaks HTML only, without ETags and metadata, and remembers what it was asked for.

    `broken` answers everything with that status; `tampered` are filenames whose bytes are not as the page says;
    `credential` is what it wants to see as `user:password`; `moved` answers pages by redirecting below that address,
    and `relative` links files from their page on. `pages` are answers by project; `seen` are the credentials that came.
    It takes `slow_s` for each answer, less when it is `closing`. With `etags` it answers 304 to who has its page.
    `dates` are upload times by filename, for others `dated` decides.
    """

    url: str = ""
    projects: dict[str, list[Made]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    broken: int = 0
    tampered: set[str] = field(default_factory=set)
    dated: bool = True
    dates: dict[str, str] = field(default_factory=dict)
    etags: bool = False
    slow_s: float = 0.0
    closing: threading.Event = field(default_factory=threading.Event)
    credential: str = ""
    seen: list[str] = field(default_factory=list)
    moved: str = ""
    relative: bool = False
    pages: dict[str, str] = field(default_factory=dict)

    def add(self, *made: Made) -> None:
        for each in made:
            self.projects.setdefault(each.project, []).append(each)

    def answer(self, path: str) -> tuple[int, bytes]:
        self.requests.append(path)
        if self.broken:
            return self.broken, b"broken"
        _, kind, name, *_ = [*path.split("/"), "", ""]
        if kind == "simple" and name in self.pages:
            return 200, self.pages[name].encode()
        if self.moved and path.startswith(self.moved):
            kind, name = "simple", path.removeprefix(self.moved).strip("/")
        if kind == "simple" and name in self.projects:
            return 200, "".join(self._link(each) for each in self.projects[name]).encode()
        for made in (each for project in self.projects.values() for each in project):
            if path.endswith(f"/files/{made.filename}"):
                return 200, made.content + (b"!" if made.filename in self.tampered else b"")
        return 404, b"there is nothing"

    def _link(self, made: Made) -> str:
        told = self.dates.get(made.filename, "2024-05-06T07:08:09Z" if self.dated else "")
        date = f' data-upload-time="{told}"' if told else ""
        python = f' data-requires-python="{html.escape(">=3.8")}"'
        href = f"{'../..' if self.relative else ''}/files/{made.filename}#sha256={made.sha256}"
        return f'<a href="{href}"{python}{date}>{made.filename}</a><br/>\n'


class _Patient(ThreadingHTTPServer):
    """Takes many connections at once, and says nothing when one is hung up."""

    request_queue_size = 512

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Serve an `Upstream` on loopback."""
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            state.seen.append(given)
            state.closing.wait(state.slow_s)
            if state.credential and given != authorization(*reversed(state.credential.split(":")))["Authorization"]:
                status, body = 401, b"who are you"
            elif state.moved and "/simple/" in self.path:
                status, body = 302, b"elsewhere"
            else:
                status, body = state.answer(self.path)
            etag = f'"{sha256(body)}"'
            if state.etags and status == 200 and self.headers.get("If-None-Match") == etag:
                status, body = 304, b""
            self.send_response(status)
            if state.etags:
                self.send_header("ETag", etag)
            if status == 302:
                self.send_header("Location", self.path.replace("/simple/", state.moved))
            self.send_header("Content-Type", "text/html" if "/simple/" in self.path else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            """uv asks whether it can have a part of a wheel. It cannot."""
            self.send_response(405)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = _Patient(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/simple/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def names(page: Reply) -> Sequence[str]:
    """The filenames on a JSON page."""
    return [each["filename"] for each in page.json()["files"]]
