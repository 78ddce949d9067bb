"""I11: upstreams that are down, slow, broken or untrue, and what goes on all the same."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.index import running
from tests.index.making import wheel
from tests.index.running import JSON, Server, Upstream, call, eventually, make_token, names, upload

from pinwheel.index.public import breaker, mirror
from pinwheel.index.public import upstream as upstreams
from pinwheel.index.public.breaker import Breaker
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.public.flights import Flights
from pinwheel.index.public.mirror import Mirror
from pinwheel.index.public.upstream import OtherBytes, UpstreamClient, UpstreamFailed
from pinwheel.index.server.assembly import Stored
from pinwheel.index.server.worker import BLOCKING_THREADS


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload")


# what is here goes on


@pytest.mark.slow
def test_what_is_cached_goes_on_while_the_upstream_is_down_and_the_rest_comes_back_with_it(tmp_path: Path) -> None:
    made, later = wheel("public"), wheel("later")

    def ask(server: Server, project: str, token: str) -> list[int]:
        paths = (f"/simple/{project}/", *(f"/files/{one.sha256}/{one.filename}" for one in (made, later)))
        return [server.ask("GET", path, token).status for path in paths if project in path]

    with running.upstream() as first:
        first.add(made, later)
        data = tmp_path / "data"
        with running.running(data, "--upstream", first.url, "--workers", "1") as server:
            token = server.token("t", "read")
            assert ask(server, "public", token) == [200, 200]
            first.broken = 500
            assert ask(server, "later", token) == [502, 502]
        first.broken = 0
        with running.running(data, "--upstream", "http://127.0.0.1:1/simple/", "--workers", "1") as server:
            assert ask(server, "public", token) == [200, 200]
            assert ask(server, "later", token) == [502, 502]
        with running.running(data, "--upstream", first.url, "--workers", "1") as server:
            assert ask(server, "later", token) == [200, 200]


def test_private_packages_are_served_while_every_request_to_the_upstream_hangs(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as may wait do, one more is told to come again, and none of them matters to a private name."""
    monkeypatch.setattr(mirror, "MOST_WAITING", 4)
    known = wheel("known")
    upstream.add(known, *(wheel(f"public{number}") for number in range(4)))
    served, own = cached(), wheel("own")
    upload(served, own, token)
    assert call(served, "GET", "/simple/known/", token).status == 200
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    upstream.seen.clear()
    upstream.slow_s = 60
    with ThreadPoolExecutor(4) as pool:
        hanging = [pool.submit(call, served, "GET", f"/simple/public{n}/", token) for n in range(4)]
        eventually(lambda: len(upstream.seen) == 4)
        refused = call(served, "GET", "/simple/public9/", token)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert names(call(served, "GET", "/simple/known/", token, headers=JSON)) == [known.filename], (
            "an old page will do"
        )
        assert names(call(served, "GET", "/simple/own/", token, headers=JSON)) == [own.filename]
        assert call(served, "GET", f"/files/{own.sha256}/{own.filename}", token).body == own.content
        assert not any(each.done() for each in hanging)
        upstream.closing.set()
        assert [each.result().status for each in hanging] == [200] * 4


def test_a_slow_upstream_renews_its_pages_behind_the_old_ones(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than anybody waits, and is up to date all the same."""
    upstream.add(wheel("public", "1.0"))
    cache = Mirror(tmp_path, UpstreamClient(Upstreams((upstream.url,)), print))
    assert cache.page("public") is not None
    upstream.add(wheel("public", "2.0"))
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    monkeypatch.setattr(mirror, "RENEWAL_S", 0.01)
    upstream.slow_s = 60

    def shown() -> list[str]:
        page = cache.page("public")
        assert page is not None
        versions: list[str] = json.loads(page.json.plain)["versions"]
        return versions

    assert [shown() for _ in range(3)] == [["1.0"]] * 3
    eventually(lambda: len(upstream.seen) == 2)
    upstream.closing.set()
    eventually(lambda: shown() == ["1.0", "2.0"])


@pytest.mark.slow
def test_a_worker_serves_private_packages_while_more_requests_hang_than_a_burst_of_installs(
    upstream: Upstream, tmp_path: Path
) -> None:
    many, own = 300, wheel("own")
    with running.running(tmp_path / "data", "--upstream", upstream.url, "--workers", "1") as server:
        token = server.token("t", "read", "upload")
        assert server.upload(own, token).status == 200
        upstream.slow_s = 60
        with ThreadPoolExecutor(many) as pool:
            hanging = [pool.submit(server.ask, "GET", f"/simple/public{n}/", token) for n in range(many)]
            eventually(lambda: len(upstream.seen) > many // 2)
            for _ in range(20):
                assert server.ask("GET", "/simple/own/", token).status == 200
                assert server.ask("GET", f"/files/{own.sha256}/{own.filename}", token).body == own.content
            assert not any(each.done() for each in hanging)
            upstream.closing.set()
            assert {each.result().status for each in hanging} == {404}


def test_a_worker_has_threads_that_never_wait_for_upstreams() -> None:
    assert BLOCKING_THREADS - mirror.MOST_WAITING >= 32


def test_all_who_wait_for_a_failing_upstream_hear_of_one_failure(tmp_path: Path, upstream: Upstream) -> None:
    upstream.broken, upstream.slow_s = 500, 60
    cache = Mirror(tmp_path, UpstreamClient(Upstreams((upstream.url,)), print))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.page, "public") for _ in range(8)]
        eventually(lambda: cache._waiting._value == mirror.MOST_WAITING - 8)
        upstream.closing.set()
        assert all(isinstance(each.exception(), UpstreamFailed) for each in asked)
    assert upstream.requests == ["/simple/public/"]


def test_an_upstream_that_keeps_failing_is_not_asked_and_its_old_pages_go_on(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel("public")
    upstream.add(made)
    served = cached()
    assert call(served, "GET", "/simple/public/", token).status == 200
    upstream.broken = 503
    for number in range(breaker.OPEN_AFTER):
        assert call(served, "GET", f"/simple/other{number}/", token).status == 502
    asked = len(upstream.requests)
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    assert names(call(served, "GET", "/simple/public/", token, headers=JSON)) == [made.filename]
    refused = call(served, "GET", "/simple/another/", token)
    assert (refused.status, "keeps failing" in refused.text) == (502, True)
    assert len(upstream.requests) == asked


def test_what_has_left_the_upstream_is_still_had_by_its_address_and_a_failure_is_no_absence(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks name files by their addresses, and go on working when the project disappears."""
    made = wheel("public")
    upstream.add(made)
    served = cached()
    path = f"/files/{made.sha256}/{made.filename}"
    assert call(served, "GET", path, token).body == made.content
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    upstream.projects.clear()
    for each in (served, cached()):
        assert call(each, "GET", "/simple/public/", token).status == 404
        assert call(each, "GET", path, token).body == made.content
    upstream.broken = 500
    for _ in range(2):
        assert call(served, "GET", "/simple/public/", token).status == 502


# what an upstream says of a file


def test_a_changed_digest_on_the_page_is_refused_and_logged_and_the_first_one_stays(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    made, changed = wheel("public", code="x = 1"), wheel("public", code="x = 2")
    upstream.add(made)
    served = cached(lines.append)
    old, new = (f"/files/{one.sha256}/{one.filename}" for one in (made, changed))
    assert call(served, "GET", old, token).body == made.content
    upstream.projects["public"] = [changed]
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    for each in (served, cached(lines.append)):
        (file,) = call(each, "GET", "/simple/public/", token, headers=JSON).json()["files"]
        assert file["hashes"]["sha256"] == made.sha256
        refused = call(each, "GET", new, token)
        assert (refused.status, made.sha256 in refused.text) == (502, True)
        assert call(each, "GET", old, token).body == made.content
    told = [json.loads(line)["changed_digest"] for line in lines if "changed_digest" in line]
    assert told[0] == {"filename": made.filename, "known": made.sha256, "told": changed.sha256}


def test_metadata_other_than_promised_is_refused(tmp_path: Path, upstream: Upstream) -> None:
    """The upstream sends neither what its page promises nor has the wheel it."""
    made = wheel("public")
    upstream.add(made)
    link = f'<a href="/files/{made.filename}#sha256={made.sha256}" data-core-metadata="sha256={{}}">x</a>'
    client = UpstreamClient(Upstreams((upstream.url,)), print)
    upstream.pages["public"] = link.format("0" * 64)
    with pytest.raises(OtherBytes, match="other metadata"):
        Mirror(tmp_path / "a", client).metadata(made.filename, made.sha256)
    right = Mirror(tmp_path / "b", client)
    upstream.pages["public"] = link.format("true")
    found = right.metadata(made.filename, made.sha256)
    upstream.pages["public"] = link.format(running.sha256(found or b""))
    assert Mirror(tmp_path / "c", client).metadata(made.filename, made.sha256) == found
    blobs = {file.name for file in (tmp_path / "b" / "blobs").rglob("*") if file.is_file()}
    assert blobs == {made.sha256, running.sha256(found or b"")}, "it is kept by its own hash, as every file is"


# everything ends


@contextmanager
def answering(write: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on loopback whose answers `write` makes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # whoever asked had enough
                write(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    for _ in range(1_000_000):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def test_an_answer_that_comes_byte_by_byte_ends_with_its_time() -> None:
    seconds = itertools.count()  # a clock that is one second later each time somebody looks
    with answering(endless) as url:
        client = UpstreamClient(Upstreams((url,)), print, clock=lambda: float(next(seconds)))
        with pytest.raises(UpstreamFailed, match="TimeoutError"):
            client.page("public", 20.0)
    assert next(seconds) < 40


def test_an_answer_without_end_ends_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "LARGEST_PAGE_BYTES", 1000)
    with answering(endless) as url:
        client = UpstreamClient(Upstreams((url,)), print)
        with pytest.raises(UpstreamFailed, match="more than 1000 bytes"):
            client.page("public", 20.0)
        with pytest.raises(UpstreamFailed, match="more than 5 bytes"):
            client.download(f"{url}file", "a" * 64, 5, BytesIO())


@pytest.mark.parametrize("target", ["/simple/public/", "file:///etc/passwd", "//", ""])
def test_redirects_that_lead_nowhere_end(target: str) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with answering(elsewhere) as url, pytest.raises(UpstreamFailed):
        UpstreamClient(Upstreams((url,)), print).page("public", 20.0)


def test_a_page_that_is_cut_is_a_failure() -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"<a>")

    with answering(cut) as url, pytest.raises(UpstreamFailed):
        UpstreamClient(Upstreams((url,)), print).page("public", 20.0)


def test_who_waits_for_another_does_not_wait_for_ever(tmp_path: Path) -> None:
    flights, began, end = Flights(tmp_path), threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        end.wait(30)
        return "done"

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flights.shared, "page", "public", 30, work)
        began.wait(30)
        for each in (flights, Flights(tmp_path)):  # a thread of the same process, and another process
            with pytest.raises(UpstreamFailed, match="too long"):
                each.shared("page", "public", 0.05, work)
        assert flights.shared("page", "other", 30, lambda: "at once") == "at once"
        end.set()
        assert first.result() == "done"


# the circuit breaker


def test_a_host_is_asked_again_by_one_after_a_pause_that_grows() -> None:
    host, now = Breaker(), 0.0
    for _ in range(breaker.OPEN_AFTER):
        assert host.wait_s(now) == 0
        host.failed(now)
    pauses = []
    for _ in range(6):
        pauses.append(host.wait_s(now))
        now += pauses[-1]
        assert host.wait_s(now) == 0, "one may try"
        assert host.wait_s(now) > 0, "the others wait for what it finds"
        host.failed(now)
    assert pauses == [5, 10, 20, 40, 60, 60]
    host.answered()
    assert [host.wait_s(now) for _ in range(3)] == [0, 0, 0]


def test_a_hundred_requests_that_fail_together_count_as_few() -> None:
    host = Breaker()
    for _ in range(100):
        host.failed(0)
    assert host.wait_s(0) == breaker.SHORTEST_S


def test_one_failure_among_answers_closes_nothing() -> None:
    host = Breaker()
    for _ in range(10):
        host.failed(0)
        host.failed(0)
        host.answered()
        assert host.wait_s(0) == 0


def test_who_tried_and_never_told_is_forgotten() -> None:
    host = Breaker()
    for _ in range(breaker.OPEN_AFTER):
        host.failed(0)
    assert host.wait_s(breaker.SHORTEST_S) == 0
    assert host.wait_s(breaker.SHORTEST_S + breaker.PROBE_S) == 0
