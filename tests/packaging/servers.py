"""Real git servers on loopback: sshd that knows one key for each repository, and git's http-backend behind TLS.

The sshd is OpenSSH's, run by whoever runs the tests; each key opens one repository and git-shell does the rest. The TLS
server asks for user and token, and also answers git-lfs: its batch API, and the contents.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tests.index.certificates import self_signed
from tests.packaging.running import eventually
from tests.ports import free_port

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TOKEN_USER, TOKEN = "x-access-token", "hunter2-%20-token"


def key_pair(file: Path) -> str:
    """Make a key without a passphrase in `file`; returns the public half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    argv = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file))
    subprocess.run(argv, check=True)
    return file.with_name(f"{file.name}.pub").read_text().strip()


@dataclass(frozen=True, slots=True)
class SshServer:
    """An sshd at `port`; `known_hosts` pins its key."""

    folder: Path
    port: int

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def address(self, repository: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def deploy_key(self, repository: Path, file: Path) -> Path:
        """A new key that opens this repository for reading and no other."""
        public = key_pair(file)
        asked = f"git-upload-pack '{repository}'"
        guard = self.folder / f"{file.name}.sh"
        guard.write_text(
            f'#!/bin/sh\n[ "$SSH_ORIGINAL_COMMAND" = "{asked}" ] && exec git-shell -c "$SSH_ORIGINAL_COMMAND"\n'
            "echo 'this key is for another repository' >&2\nexit 1\n"
        )
        guard.chmod(0o755)
        with (self.folder / "authorized_keys").open("a") as out:
            out.write(f"restrict,command=\"'{guard}'\" {public}\n")
        return file


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run an sshd with a host key of its own until the context ends."""
    assert SSHD
    folder.mkdir(parents=True)
    host_key = key_pair(folder / "host_key")
    (folder / "authorized_keys").touch(0o600)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": folder / "pid",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "StrictModes": "no",  # the folders above belong to whoever made the machine's temporary folder
        "LogLevel": "VERBOSE",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    argv = (SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log"))
    server = subprocess.Popen(argv)
    made = SshServer(folder, port)
    try:
        eventually(lambda: "Server listening" in made.log if (folder / "log").exists() else False)
        yield made
    finally:
        server.terminate()
        server.wait()


@dataclass(slots=True)
class HttpsServer:
    """git's http-backend for the repositories below `root`. `heard` are the requests: method, path, whether with a
    credential; `moved` sends whoever asks for a path that begins so to another address."""

    url: str
    ca_file: Path
    root: Path
    heard: list[tuple[str, str, bool]] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def address(self, repository: Path) -> str:
        return f"{self.url}/{repository.relative_to(self.root)}"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    at: ClassVar[HttpsServer]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - it is called so there
        """Nothing: what was asked is kept in `heard`."""

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self._body()
        said = self.headers.get("Authorization", "")
        self.at.heard.append((self.command, path, bool(said)))
        elsewhere = next((url for start, url in self.at.moved.items() if path.startswith(start)), "")
        if elsewhere:
            self._send(302, {"Location": elsewhere + self.path})
        elif said != "Basic " + base64.b64encode(f"{TOKEN_USER}:{TOKEN}".encode()).decode():
            # some servers repeat what they were sent
            self._send(401, {"WWW-Authenticate": 'Basic realm="git"', "Content-Type": "text/plain"}, said.encode())
        elif path.endswith("/info/lfs/objects/batch"):
            self._send(200, {"Content-Type": "application/vnd.git-lfs+json"}, self._batch(json.loads(body), path))
        elif "/info/lfs/content/" in path:
            self._send(200, {}, self.at.large[path.rpartition("/")[2]])
        else:
            self._backend(path, query, body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _batch(self, asked: Mapping[str, Any], path: str) -> bytes:
        below = f"{self.at.url}{path.removesuffix('objects/batch')}content/"
        objects = [
            {"oid": each["oid"], "size": each["size"], "actions": {"download": {"href": below + each["oid"]}}}
            for each in asked["objects"]
            if each["oid"] in self.at.large
        ]
        return json.dumps({"transfer": "basic", "objects": objects}).encode()

    def _backend(self, path: str, query: str, body: bytes) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.at.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_USER": TOKEN_USER,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        out = subprocess.run(("git", "http-backend"), input=body, env=env, capture_output=True, check=True).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._send(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def https_server(root: Path, folder: Path) -> Iterator[HttpsServer]:
    """Serve the repositories below `root` to whoever knows `TOKEN`, under a certificate that nobody else trusts."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not certificate.exists():
        self_signed(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Answers(_Answers):
        """Those of this server."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        # the handshake in the connection's own thread: a client that does not trust us must not end the server
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        Answers.at = HttpsServer(f"https://127.0.0.1:{server.server_port}", certificate, root)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Answers.at
        finally:
            server.shutdown()
            thread.join()
