"""Upstreams beyond a proxy: the way out that the server's environment names, for upstreams and for nothing else."""

from __future__ import annotations

import base64
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.index import running
from tests.index.making import Made, wheel
from tests.index.running import JSON, Upstream, call, make_token, names, upload

from pinwheel.errors import UsageError
from pinwheel.index.public import configured
from pinwheel.index.public import upstream as upstreams
from pinwheel.index.public.configured import Upstreams, from_pip, named
from pinwheel.index.public.upstream import UpstreamClient
from pinwheel.index.server.assembly import Stored

CREDENTIAL = "ann:secret"


@dataclass
class Proxy:
    """A proxy on loopback that takes every host for one on loopback, and remembers what it was asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    credentials: set[str] = field(default_factory=set)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that does not trust whom it reached hangs up."""


@contextmanager
def proxying() -> Iterator[Proxy]:
    state = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def _note(self) -> None:
            state.asked.append(f"{self.command} {self.path}")
            state.credentials.add(self.headers.get("Proxy-Authorization", ""))

        def do_GET(self) -> None:
            self._note()
            parts = urlsplit(self.path)
            there = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
            there.request("GET", parts.path)
            answer = there.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            there.close()

        def do_CONNECT(self) -> None:
            self._note()
            with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])), 30) as there:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: there, there: self.connection}
                while True:
                    readable, _, _ = select.select(list(ends), [], [], 30)
                    for end in readable:
                        data = end.recv(65536)
                        if not data:
                            return
                        ends[end].sendall(data)

        def log_message(self, *_: object) -> None:
            pass

    with _Quiet(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        server.shutdown()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxying() as found:
        yield found


def beyond(upstream: Upstream, made: Made) -> str:
    """The address of the upstream by a name that only the proxy knows."""
    upstream.relative = True
    upstream.add(made)
    return upstream.url.replace("127.0.0.1", "upstream.test")


def test_pages_and_files_come_through_the_proxy_and_private_names_do_not(
    index: Stored, app: Callable[..., Any], upstream: Upstream, proxy: Proxy
) -> None:
    made = wheel("public")
    base = beyond(upstream, made)
    token = make_token(index.folder, "t", "read", "upload")
    given = Upstreams((base,), proxies={"http": proxy.url.replace("//", f"//{CREDENTIAL}@")})
    log: list[str] = []
    served = app(log.append, upstreams=given, private=("acme-*",))
    assert upload(served, wheel("acme"), token).status == 200
    assert names(call(served, "GET", "/simple/public/", token, headers=JSON)) == [made.filename]
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
    for private in ("acme", "acme-reserved"):
        call(served, "GET", f"/simple/{private}/", token)
    assert proxy.asked == [f"GET {base}public/", f"GET {base.replace('/simple/', '/files/')}{made.filename}"]
    assert proxy.credentials == {"Basic " + base64.b64encode(CREDENTIAL.encode()).decode()}
    assert "secret" not in "".join(log)


def test_https_goes_through_a_tunnel_and_is_verified(proxy: Proxy, certificate: Path, secure: str) -> None:
    def asked(ca_file: str) -> object:
        given = Upstreams((f"{secure}simple/",), ca_file, {"https": proxy.url})
        return UpstreamClient(given, print).page("public", 10.0)

    assert asked(str(certificate)) is None, "it says that there is nothing"
    with pytest.raises(upstreams.UpstreamFailed, match="SSLError"):
        asked("")
    assert set(proxy.asked) == {f"CONNECT {urlsplit(secure).netloc}"}


@pytest.fixture
def secure(certificate: Path) -> Iterator[str]:
    """The address of an upstream that speaks https and has nothing."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with _Quiet(("127.0.0.1", 0), Nothing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.slow
def test_a_real_server_takes_the_proxies_of_its_environment(upstream: Upstream, proxy: Proxy, tmp_path: Path) -> None:
    made = wheel("public")
    base = beyond(upstream, made)
    flags = ("--upstream", base, "--anonymous-read", "--workers", "1")
    with running.running(tmp_path / "data", *flags, http_proxy=proxy.url, no_proxy="other.test") as server:
        assert names(server.ask("GET", "/simple/public/", headers=JSON)) == [made.filename]
    assert proxy.asked == [f"GET {base}public/"]


def test_hosts_that_the_environment_excepts_are_asked_directly(upstream: Upstream, proxy: Proxy) -> None:
    upstream.add(wheel("public"))
    for no_proxy in ("127.0.0.1", "*", urlsplit(upstream.url).netloc):
        given = named(upstream.url, {"http_proxy": proxy.url, "NO_PROXY": no_proxy})
        assert UpstreamClient(given, print).page("public", 10.0) is not None
    assert proxy.asked == []


def test_a_proxy_that_does_not_answer_is_a_failure_and_no_absence(upstream: Upstream) -> None:
    given = named(upstream.url, {"ALL_PROXY": "127.0.0.1:1"})
    with pytest.raises(upstreams.UpstreamFailed, match="ProxyError"):
        UpstreamClient(given, print).page("public", 10.0)
    assert upstream.requests == []


def test_the_lower_case_variable_wins_also_when_it_is_empty() -> None:
    def proxies(**environ: str) -> object:
        return named("http://upstream.test/", environ).proxies

    assert proxies(HTTP_PROXY="http://one", http_proxy="http://two") == {"http": "http://two"}
    assert proxies(HTTP_PROXY="http://one", http_proxy="") == {}


def test_an_address_of_a_proxy_that_makes_no_sense_is_one_clear_error_without_its_credential() -> None:
    with pytest.raises(UsageError, match="proxy") as caught:
        UpstreamClient(Upstreams(("http://upstream.test/",), proxies={"http": f"socks5://{CREDENTIAL}@host"}), print)
    assert caught.value.where == "socks5://host"


def test_auto_takes_the_proxy_that_pip_is_configured_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = "global.index-url='https://upstream.test/'\nglobal.proxy='http://proxy.test:3128'\n"
    monkeypatch.setattr(configured, "_pip", lambda *_arguments, environ: settings)
    both = dict.fromkeys(("http", "https"), "http://proxy.test:3128")
    assert from_pip({"HTTPS_PROXY": "http://other.test"}).proxies == both
