"""nginx serves pages and files and asks the index who may have them: no spelling of an address gets around that."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.index.making import Made, wheel
from tests.index.running import authorization, eventually, running
from tests.ports import free_port

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/tree;
        location / {{
            auth_request /asked;
            index page.html;
        }}
        location = /asked {{
            internal;
            proxy_pass {url}-/authorize;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
            proxy_set_header X-Original-Method $request_method;
        }}
    }}
}}
"""
PROTECTED, OPEN = wheel("acme-secret"), wheel("acme-open")


@dataclass(frozen=True)
class Front:
    port: int
    token: str

    def ask(self, target: str, token: str = "", method: str = "GET") -> tuple[int, bytes]:
        """Status and body for a request line as it is written here, which no client would send."""
        lines = [f"{method} {target} HTTP/1.0", *(f"{key}: {value}" for key, value in authorization(token).items())]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            got = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = got.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    nginx = shutil.which("nginx") or pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("front")
    (folder / "pinwheel.toml").write_text('[index]\nprotected = ["acme-secret*"]\n')
    with running(folder / "data", "--anonymous-read", "--workers", "1", cwd=folder) as server:
        token = server.token("all", "read", "upload")
        for made in (PROTECTED, OPEN):
            assert server.upload(made, token).status == 200
            _keep(folder / "tree", made)
        (folder / "tree" / "simple" / "page.html").write_text("acme-open\nacme-secret\n")
        port = free_port()
        text = CONFIGURATION.format(
            folder=folder, port=port, url=server.url, user="user root;" if os.geteuid() == 0 else ""
        )
        (folder / "nginx.conf").write_text(text)
        process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
        try:
            eventually(lambda: _listens(port) or process.poll() is not None)
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            yield Front(port, token)
        finally:
            process.terminate()
            process.wait(30)
            assert process.stderr is not None
            process.stderr.close()


def _keep(tree: Path, made: Made) -> None:
    page, file = tree / "simple" / made.project / "page.html", tree / "files" / made.sha256 / made.filename
    for each, body in ((page, f"page of {made.project}".encode()), (file, made.content)):
        each.parent.mkdir(parents=True)
        each.write_bytes(body)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_is_open_is_for_everybody_and_the_rest_for_who_may_read_it(front: Front) -> None:
    for made, anonymous in ((OPEN, 200), (PROTECTED, 401)):
        for target in (f"/simple/{made.project}/", f"/files/{made.sha256}/{made.filename}"):
            assert front.ask(target)[0] == anonymous, target
            assert front.ask(target, front.token)[0] == 200, target
            assert front.ask(target, "wrong")[0] == 401, target
            assert front.ask(target, method="HEAD")[0] == anonymous, target
    assert front.ask("/simple/")[0] == 403, "what shows not everybody the same is not answered from files"
    assert front.ask("/simple/", front.token)[0] == 200


def test_no_spelling_gets_what_is_protected(front: Front) -> None:
    page, file = b"page of acme-secret", PROTECTED.content
    opened, secret = "/simple/acme-open", "acme-secret"
    names = [
        secret,
        "ACME-SECRET",
        "acme_secret",
        "acme%2dsecret",
        "%61cme-secret",
        "acme%252dsecret",
        "acme-secret%00",
    ]
    around = [
        *(
            "/simple/{}/",
            "//simple/{}/",
            "/simple//{}/",
            "/./simple/{}/",
            "/simple/./{}/",
            "/simple/{}//",
            "/simple/{}/.",
        ),
        *(
            "/simple/{}/page.html",
            "/simple/{}/./page.html",
            "/simple/{}",
            "/x/../simple/{}/",
            "/simple/{}/?",
            "/simple/{}/#",
        ),
        *(opened + "/../{}/", opened + "/%2e%2e/{}/", opened + "%2f..%2f{}/", opened + "/..%2f{}/page.html"),
        *(opened + "/?/../{}/", opened + "/#/../../{}/", opened + "/..;/{}/", opened + "/..\\{}/", "/simple%2f{}/"),
        *(
            "/c/prod/../../simple/{}/",
            "/c/main/simple/../../../simple/{}/",
            "http://x/simple/{}/",
            "http://x//simple/{}/",
        ),
        *("/simple/{}/;x", "/simple/{}/%20", "/simple/{}%2f", "/simple/{}%2fpage.html", "/%73imple/{}/"),
    ]
    for target in [shape.format(name) for shape in around for name in names]:
        status, body = front.ask(target)
        assert page not in body, (target, status)
    inside = f"/files/{PROTECTED.sha256}/{PROTECTED.filename}"
    mine = f"/files/{OPEN.sha256}/{OPEN.filename}"
    for target in (
        *(inside, f"/{inside}", f"/x/..{inside}", f"{mine}/../../..{inside}", f"{mine}/..%2f..%2f..{inside}"),
        f"/files/{OPEN.sha256}/../{PROTECTED.sha256}/{PROTECTED.filename}",
        f"/files/{OPEN.sha256}%2f..%2f{PROTECTED.sha256}%2f{PROTECTED.filename}",
        f"/files/{PROTECTED.sha256}/{PROTECTED.filename.replace('_', '%5f')}",
        f"/files/{PROTECTED.sha256.upper()}/{PROTECTED.filename}",
        f"/files/{PROTECTED.sha256}//{PROTECTED.filename}",
        f"/files/{PROTECTED.sha256}/./{PROTECTED.filename}",
        f"{mine}?{inside}",
        f"{mine}#{inside}",
    ):
        status, body = front.ask(target)
        assert file not in body, (target, status)
