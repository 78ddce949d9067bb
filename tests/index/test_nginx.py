"""index/nginx.conf with a real nginx: the read side from files, and everything else passed on."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.index import running
from tests.index.making import Made, form, wheel
from tests.index.running import JSON, Reply, Server, Upstream, authorization, eventually, names
from tests.index.test_installers import pip_install, uv_install
from tests.ports import free_port

from pinwheel.index.entries import Act
from pinwheel.index.server.assembly import stored

pytestmark = pytest.mark.slow  # needs nginx, which .ci/run installs

CONFIGURATION = Path(__file__).parents[2] / "index" / "nginx.conf"
ACT = Act("2024-01-02T03:04:05.000000Z", "tester")
HTML = {"Accept": "text/html"}
PIP = {
    "Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}


@dataclass
class Front:
    """nginx before an index. `asked` are the paths that came through to the index."""

    url: str
    server: Server
    log: Path
    folder: Path
    _seen: int = field(default=0)

    def ask(self, method: str, path: str, token: str = "", **about: object) -> Reply:
        return Server(self.server.process, self.folder, self.url).ask(method, path, token, **about)  # type: ignore[arg-type]

    def upload(self, made: Made, token: str) -> Reply:
        content_type, body = form(made)
        return self.ask("POST", "/", token, body=body, headers={"Content-Type": content_type})

    def asked(self) -> list[str]:
        """What the index answered itself since the last call, without verdicts."""
        lines = self.log.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        paths = [line.partition('"path":"')[2].partition('"')[0] for line in new]
        return [path for path in paths if path != "/-/authorize"]


def configured(folder: Path, port: int, index: str, certificate: Path | None) -> str:
    """The configuration as it is shipped, with other names and paths; without TLS when there is no certificate."""
    text = CONFIGURATION.read_text()
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port}{' ssl' if certificate else ''};"),
        ("server 127.0.0.1:8080;", f"server {index};"),
        ("/srv/pinwheel/static;", f"{folder / 'static'};"),
        ("/run/pinwheel-nginx", str(folder / "verdicts")),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    if certificate:
        text = text.replace("/etc/ssl/index.example.pem;", f"{certificate};")
        text = text.replace("/etc/ssl/private/index.example.key;", f"{certificate.with_name('key.pem')};")
    else:
        text = "".join(line for line in text.splitlines(keepends=True) if "ssl_certificate" not in line)
    places = "".join(
        f"{each}_temp_path {folder / each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # pytest's folders are for nobody else
    return (
        f"{user}daemon off;\nworker_processes 1;\npid {folder / 'pid'};\nerror_log {folder / 'error'};\n"
        f"events {{ }}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
    )


@contextlib.contextmanager
def fronted(tmp_path: Path, *flags: str, config: str = "", certificate: Path | None = None) -> Iterator[Front]:
    """An index behind nginx, which speaks https when there is a certificate; its key is `key.pem` beside it."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        pytest.skip("nginx is not installed")
    log = tmp_path / "log"
    (tmp_path / "pinwheel.toml").write_text(f'[index]\ntrusted_proxies = ["127.0.0.1"]\n{config}')
    serving = ("--static", str(tmp_path / "static"), "--access-log", str(log), *flags)
    with running.running(tmp_path / "data", *serving, cwd=tmp_path) as server:
        eventually(lambda: (tmp_path / "static" / ".made-by").exists())
        port = free_port()
        conf = tmp_path / "nginx.conf"
        conf.write_text(configured(tmp_path, port, server.url.split("/")[2], certificate))
        process = subprocess.Popen((nginx, "-p", str(tmp_path), "-c", str(conf), "-e", str(tmp_path / "error")))
        try:
            scheme = "https" if certificate else "http"
            front = Front(f"{scheme}://127.0.0.1:{port}/", server, log, tmp_path)
            eventually(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "error").read_text()
            yield front
        finally:
            process.terminate()
            process.wait(running.WITHIN_S)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with fronted(tmp_path) as found:
        yield found


@pytest.fixture
def token(front: Front) -> str:
    return front.server.token("t", "read", "upload")


@contextlib.contextmanager
def unready(port: int) -> Iterator[None]:
    """Something at the index's address that answers 503 to everything."""

    class Unready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

    with ThreadingHTTPServer(("127.0.0.1", port), Unready) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield
        server.shutdown()


def changed(front: Front, act: Callable[..., object]) -> None:
    """Decide something beside the server, as its own tasks on the data folder do."""
    index = stored(front.server.folder)
    try:
        act(index)
    finally:
        index.close()


def test_pages_and_files_are_sent_without_the_index(front: Front, token: str) -> None:
    made = wheel("acme")
    assert front.upload(made, token).status == 200
    front.asked()
    for path in ("/simple/", "/simple/acme/", f"/files/{made.sha256}/{made.filename}"):
        assert front.ask("GET", path, token).status == 200
    metadata = front.ask("GET", f"/files/{made.sha256}/{made.filename}.metadata", token)
    assert metadata.text.startswith("Metadata-Version")
    assert front.asked() == []


@pytest.mark.parametrize(
    ("accept", "query", "sent"),
    [
        (PIP["Accept"], "", "json"),
        ("application/vnd.pypi.simple.v1+json, text/html;q=0.01", "", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", "html"),
        ("*/*", "", "html"),
        (None, "", "html"),
        ("application/vnd.pypi.simple.v1+html", "", ""),
        ("application/vnd.pypi.simple.v1+json;q=0.1, text/html", "", ""),
        ("text/html;q=0.5, */*", "", ""),
        ("image/png", "", ""),
        ("text/html", "?format=application/vnd.pypi.simple.v1%2Bjson", ""),
    ],
)
def test_the_form_of_a_page_is_the_one_that_the_index_would_choose(
    front: Front, token: str, accept: str | None, query: str, sent: str
) -> None:
    """`sent`: the form that is a file here, empty when the index is asked."""
    front.upload(wheel("acme"), token)
    front.asked()
    headers = {"Accept": accept} if accept is not None else {}
    path = f"/simple/acme/{query}"
    found = front.ask("GET", path, token, headers=headers)
    assert len(front.asked()) == (0 if sent else 1)
    own = front.server.ask("GET", path, token, headers=headers)
    same = ("content-type", "cache-control", "vary")
    assert (found.status, found.body) == (own.status, own.body)
    assert [found.headers.get(each) for each in same] == [own.headers.get(each) for each in same]


def test_a_page_is_compressed_and_validated_by_its_own_etag(front: Front, token: str) -> None:
    front.upload(wheel("acme"), token)
    front.asked()
    zipped = front.ask("GET", "/simple/acme/", token, headers=PIP)
    plain = front.ask("GET", "/simple/acme/", token, headers=JSON)
    html = front.ask("GET", "/simple/acme/", token, headers=HTML)
    assert zipped.headers["content-encoding"] == "gzip"
    assert len({each.headers["etag"] for each in (zipped, plain, html)}) == 3
    assert "last-modified" not in plain.headers
    again = front.ask("GET", "/simple/acme/", token, headers=PIP | {"If-None-Match": zipped.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["vary"] == "Accept, Accept-Encoding"
    other = front.ask("GET", "/simple/acme/", token, headers=HTML | {"If-None-Match": plain.headers["etag"]})
    assert other.status == 200
    assert front.asked() == []
    front.upload(wheel("acme", "2.0.0"), token)
    new = front.ask("GET", "/simple/acme/", token, headers=PIP | {"If-None-Match": zipped.headers["etag"]})
    assert new.status == 200


def test_head_and_ranges_are_answered_from_files(front: Front, token: str) -> None:
    made = wheel("acme")
    front.upload(made, token)
    front.asked()
    path = f"/files/{made.sha256}/{made.filename}"
    head = front.ask("HEAD", path, token)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(made.content)))
    part = front.ask("GET", path, token, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, made.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(made.content)}"
    assert front.ask("GET", path, token, headers={"Range": "bytes=99999999-"}).status == 416
    whole = front.ask("GET", path, token)
    own = front.server.ask("GET", path, token)
    same = ("content-type", "cache-control", "x-content-type-options", "accept-ranges")
    assert [whole.headers.get(each) for each in same] == [own.headers.get(each) for each in same]
    assert front.ask("HEAD", "/simple/acme/", token, headers=PIP).headers["content-encoding"] == "gzip"


def test_who_may_not_read_is_told_by_the_index(front: Front, token: str) -> None:
    made = wheel("acme")
    front.upload(made, token)
    file = f"/files/{made.sha256}/{made.filename}"
    some = front.server.token("some", "read", projects=("other-*",))
    for path in ("/simple/acme/", file):
        nobody = front.ask("GET", path)
        assert (nobody.status, nobody.headers["www-authenticate"][:5]) == (401, "Basic")
        assert front.ask("GET", path, "wrong").status == 401
        assert front.ask("GET", path, some).status == 403
    assert front.ask("GET", "/simple/", some, headers=JSON).json()["projects"] == []
    theirs = front.server.token("theirs", "read", projects=("acme",))
    front.asked()
    assert front.ask("GET", "/simple/acme/", theirs).status == 200
    assert front.ask("GET", file, theirs).body == made.content
    assert front.asked() == []


def test_a_revoked_token_ends_within_seconds(front: Front, token: str) -> None:
    front.upload(wheel("acme"), token)
    assert front.ask("GET", "/simple/acme/", token).status == 200
    done = running.run_pinwheel("index.token-revoke", "t", "--data", str(front.server.folder))
    assert done.returncode == 0, done.stderr
    ended = time.monotonic() + 4  # longer than a verdict is believed
    with ThreadPoolExecutor(20) as together:

        def asked(_number: int) -> int:
            return front.ask("GET", "/simple/acme/", token).status

        while time.monotonic() < ended:
            last = list(together.map(asked, range(20)))
        assert set(last) <= {401, 429}, last
    assert front.server.stop() == 0
    for _ in range(5):  # the no has taken the place of the yes
        assert front.ask("GET", "/simple/acme/", token).status >= 400


def test_a_verdict_outlives_the_index_only_where_it_cannot_be_reached(front: Front, token: str) -> None:
    front.upload(wheel("acme"), token)
    front.ask("GET", "/simple/acme/", token)
    assert front.server.stop() == 0
    ended = time.monotonic() + 4
    while time.monotonic() < ended:
        assert front.ask("GET", "/simple/acme/", token).status == 200
    port = int(front.server.url.split(":")[2].strip("/"))
    with unready(port):
        assert front.ask("GET", "/simple/acme/", token).status >= 500
    assert front.ask("GET", "/simple/acme/", token).status == 200


def test_a_stranger_cannot_ask_for_verdicts_nor_for_how_the_tree_is_made(front: Front, token: str) -> None:
    front.upload(wheel("acme"), token)
    for path in ("/-/nginx/reads-all", "/.made-by", "/simple/../.made-by", "/.locks/tree", "/simple/acme/index.json"):
        assert front.ask("GET", path).status in (401, 404), path
        assert front.ask("GET", path, token).status in (303, 404), path


def test_it_goes_on_while_the_index_is_stopped(front: Front, token: str, tmp_path: Path) -> None:
    base, made = wheel("acme-base"), wheel("acme", requires=["acme-base"])
    for each in (base, made):
        assert front.upload(each, token).status == 200
    assert front.ask("GET", "/simple/", token).status == 200  # one verdict is enough for everything
    assert front.server.stop() == 0
    there = Server(front.server.process, tmp_path, front.url)
    for install in (pip_install, uv_install):
        target = tmp_path / install.__name__
        done = install(there, token, target, "acme")
        assert done.returncode == 0, done.stderr
        assert (target / "acme_base.py").exists()
    assert front.ask("GET", "/simple/acme/", "wrong").status >= 400
    assert front.ask("GET", "/simple/acme/").status >= 400
    assert front.upload(wheel("acme", "2.0.0"), token).status == 502


def test_everybody_reads_but_what_is_protected(tmp_path: Path) -> None:
    with fronted(tmp_path, "--anonymous-read", config='protected = ["secret-*"]\n') as front:
        token = front.server.token("t", "read", "upload")
        made, hidden = wheel("acme"), wheel("secret-plan")
        for each in (made, hidden):
            assert front.upload(each, token).status == 200
        front.asked()
        assert front.ask("GET", "/simple/acme/").status == 200
        assert front.ask("GET", f"/files/{made.sha256}/{made.filename}").body == made.content
        assert front.asked() == []
        for path in ("/simple/secret-plan/", f"/files/{hidden.sha256}/{hidden.filename}"):
            assert front.ask("GET", path).status == 401
            assert front.ask("GET", path, token).status == 200
        assert [each["name"] for each in front.ask("GET", "/simple/", headers=JSON).json()["projects"]] == ["acme"]


def test_uploads_public_projects_and_the_rest_pass_through(tmp_path: Path, upstream: Upstream) -> None:
    public = wheel("public")
    upstream.projects["public"] = [public]
    with fronted(tmp_path, "--upstream", upstream.url) as front:
        token = front.server.token("t", "read", "upload")
        assert front.upload(wheel("acme", padding=3 * 1024 * 1024), token).status == 200
        assert names(front.ask("GET", "/simple/public/", token, headers=JSON)) == [public.filename]
        assert front.ask("GET", f"/files/{public.sha256}/{public.filename}", token).body == public.content
        assert front.ask("GET", "/simple/Acme/", token).status == 301
        assert front.ask("GET", "/-/whoami", token).json()["name"] == "t"
        assert front.ask("POST", "/simple/", token, body=b"").status == 400
        assert front.ask("GET", "/simple/nothing/", token).status == 404


def test_what_is_decided_shows_at_once_or_within_a_second(front: Front, token: str) -> None:
    one, two = wheel("acme", "1.0.0"), wheel("acme", "2.0.0")
    for each in (one, two):
        front.upload(each, token)
    changed(front, lambda index: index.releases.yank("acme", "1.0.0", "broken", ACT))
    eventually(lambda: "data-yanked" in front.ask("GET", "/simple/acme/", token, headers=HTML).text)
    path = f"/files/{one.sha256}/{one.filename}"
    assert front.ask("GET", path, token).status == 200
    content_type, body = form(one, action="remove_pkg")
    admin = front.server.token("boss", "admin")
    assert front.ask("POST", "/", admin, body=body, headers={"Content-Type": content_type}).status == 200
    assert names(front.ask("GET", "/simple/acme/", token, headers=JSON)) == [two.filename]
    assert front.ask("GET", path, token).status == 404


def test_a_promotion_shows_in_its_channel(tmp_path: Path) -> None:
    with fronted(tmp_path, config="[index.channels.prod]\n") as front:
        token = front.server.token("t", "read", "upload", "promote")
        made = wheel("acme")
        front.upload(made, token)
        assert front.ask("GET", "/c/prod/simple/acme/", token).status == 404
        changed(front, lambda index: index.releases.promote("acme", "1.0.0", "prod", ACT))
        prod = "/c/prod/simple/"
        eventually(lambda: front.ask("GET", prod, token, headers=JSON).json()["projects"] == [{"name": "acme"}])
        front.asked()
        page = front.ask("GET", f"{prod}acme/", token, headers=JSON).json()
        assert page["files"][0]["url"].startswith("../../../../files/")
        assert front.asked() == []


def test_pip_and_uv_install_through_it_right_after_an_upload(front: Front, token: str, tmp_path: Path) -> None:
    there = Server(front.server.process, tmp_path, front.url)
    for number, install in enumerate((pip_install, uv_install)):
        for version in ("1.0.0", "2.0.0"):  # the second with what the client has in its cache
            assert front.upload(wheel(f"acme-{number}", version, code=f"v = '{version}'"), token).status == 200
            target = tmp_path / f"{number}-{version}"
            done = install(there, token, target, f"acme-{number}")
            assert done.returncode == 0, done.stderr
            assert version in (target / f"acme_{number}.py").read_text()
            assert token not in done.stdout + done.stderr


def test_a_hundred_requests_on_one_connection_are_the_same(front: Front, token: str) -> None:
    made = wheel("acme")
    front.upload(made, token)
    host = front.url.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=running.WITHIN_S)
    found = set()
    for _ in range(100):
        connection.request("GET", "/simple/acme/", headers=authorization(token) | JSON)
        answer = connection.getresponse()
        found.add((answer.status, answer.read()))
    connection.close()
    assert len(found) == 1
