"""A folder of wheels as an index that asks for a credential, and what the runner is asked to make of it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECRET = "pwt-very-secret"
RELEASE = "1.0.0-aaaaaaaa"


@dataclass
class Index:
    """A folder of wheels over HTTP, as a simple index; only for who knows the secret."""

    folder: Path
    port: int = 0
    asked: list[str] = field(default_factory=list)
    holds: threading.Event = field(default_factory=threading.Event)  # clear: downloads wait

    @property
    def url(self) -> str:
        return f"http://__token__:{SECRET}@127.0.0.1:{self.port}/simple/"

    def file(self, name: str) -> dict[str, str]:
        (found,) = self.folder.glob(f"{name}-*.whl")
        return {
            "filename": found.name,
            "url": f"http://127.0.0.1:{self.port}/files/{found.name}",
            "sha256": hashlib.sha256(found.read_bytes()).hexdigest(),
        }

    def wheel(self, name: str) -> dict[str, Any]:
        """As a lock has it; `name` is the beginning of its filename."""
        about = self.file(name)
        project, version = about["filename"].split("-")[:2]
        size = (self.folder / about["filename"]).stat().st_size
        return {**about, "name": project.replace("_", "-"), "version": version, "size": size}

    def page(self, project: str) -> str:
        found = sorted(self.folder.glob(f"{project.replace('-', '_')}-*.whl"))
        return "".join(f'<a href="/files/{each.name}">{each.name}</a>\n' for each in found)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Index]:
    about = Index(folder)
    about.holds.set()
    wanted = "Basic " + base64.b64encode(f"__token__:{SECRET}".encode()).decode()

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            about.asked.append(self.path)
            kind, name = self.path.strip("/").split("/", 1)
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
                return
            if kind == "files":
                about.holds.wait(20)
            body = (about.folder / name).read_bytes() if kind == "files" else about.page(name).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if kind == "files" else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        about.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield about
        about.holds.set()
        server.shutdown()


def body(index: Index, **changes: Any) -> dict[str, Any]:
    about = {"application": "shop", "project": "acme-tiny", "release": RELEASE, "version": "1.0.0"}
    more: dict[str, Any] = {
        "lock_sha256": "a" * 64,
        "commit": "c0ffee",
        "base": "",
        "superfluous": [],
        "deliver": "index",
        "index_url": index.url,
    }
    if "wheels" not in changes:
        more["wheels"] = [index.wheel(str(changes.get("project", "acme-tiny")).replace("-", "_"))]
    return {**about, **more, **changes}


def bootstrapping(index: Index, **changes: Any) -> dict[str, Any]:
    """The body of a survey and of a bootstrap."""
    supervisor = index.wheel("supervisor")
    requirement = f"supervisor=={supervisor['version']} --hash=sha256:{supervisor['sha256']}\n"
    about = {"index_url": index.url, "uv": index.file("uv"), "supervisor_requirements": requirement, "users": []}
    return {**about, "wheels": [supervisor], "deliver": "index", **changes}
