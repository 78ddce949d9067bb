"""What is seen from outside: metrics and the access log."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.index import running
from tests.index.making import wheel
from tests.index.running import Server, Upstream, eventually

METRICS = "/-/metrics"
LINE = {"log", "time", "address", "principal", "method", "path", "status", "bytes", "seconds", "user_agent"}


def measured(server: Server, token: str, requests: int) -> Callable[..., float]:
    """What the server shows once it has counted so many requests for packages: the sum of the samples of that name with
    these labels."""
    samples: list[Sample] = []

    def total(name: str, **labels: str) -> float:
        wanted = labels.items()
        return sum(each.value for each in samples if each.name == name and wanted <= each.labels.items())

    def counted() -> bool:
        reply = server.ask("GET", METRICS, token)
        assert reply.status == 200
        samples[:] = [each for family in text_string_to_metric_families(reply.text) for each in family.samples]
        kinds = ("project", "file", "form")
        return sum(total("pinwheel_request_seconds_count", kind=kind) for kind in kinds) >= requests

    eventually(counted)  # workers add up twice a second
    return total


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.slow
def test_the_metrics_are_the_sums_of_all_workers(tmp_path: Path) -> None:
    with running.running(tmp_path / "data") as server:
        token = server.token("t", "read", "upload", "deploy")
        made = wheel("acme")
        assert server.upload(made, token).status == 200
        assert server.upload(made, token).status == 200
        assert server.upload(wheel("acme", code="1"), token).status == 409
        for _ in range(20):
            server.ask("GET", "/simple/acme/", token)
        server.ask("GET", "/simple/none/", token)
        server.ask("GET", f"/files/{made.sha256}/{made.filename}", token)
        server.ask("GET", "/simple/acme/")
        lease = json.dumps({"owner": "ann", "rollout": "1", "ttl_s": 60}).encode()
        assert server.ask("POST", "/-/leases/prod", token, body=lease).status == 200
        found = measured(server, token, 26)
        assert found("pinwheel_request_seconds_count", kind="project", status="200") == 20
        assert found("pinwheel_request_seconds_count", kind="project", status="404") == 1
        assert found("pinwheel_request_seconds_count", kind="project", status="401") == 1
        assert found("pinwheel_request_seconds_count", kind="file", status="200") == 1
        assert found("pinwheel_request_seconds_bucket", kind="project", status="200", le="+Inf") == 20
        outcomes = {each: found("pinwheel_uploads_total", outcome=each) for each in ("published", "already there")}
        assert outcomes == {"published": 1, "already there": 1}
        assert found("pinwheel_uploads_total", outcome="refused") == 1
        assert found("pinwheel_projects") == found("pinwheel_files") == found("pinwheel_leases") == 1
        assert found("pinwheel_files_bytes") == len(made.content)
        assert found("pinwheel_disk_free_bytes") > 0


@pytest.mark.slow
def test_what_was_counted_outlives_a_restart(tmp_path: Path) -> None:
    with running.running(tmp_path / "data", "--workers", "1") as server:
        token = server.token("t", "read")
        server.ask("GET", "/simple/none/", token)
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: any(line.startswith("restarted") for line in server.log))
        server.ask("GET", "/simple/none/", token)
        assert measured(server, token, 2)("pinwheel_request_seconds_count", kind="project", status="404") == 2


@pytest.mark.slow
def test_the_metrics_tell_how_upstreams_do(tmp_path: Path, upstream: Upstream) -> None:
    made = wheel("public")
    upstream.projects["public"] = [made]
    with running.running(tmp_path / "data", "--workers", "1", "--upstream", upstream.url) as server:
        token = server.token("t", "read")
        for _ in range(2):
            assert server.ask("GET", "/simple/public/", token).status == 200
            assert server.ask("GET", f"/files/{made.sha256}/{made.filename}", token).status == 200
        upstream.broken = 500
        for number in range(5):
            assert server.ask("GET", f"/simple/broken-{number}/", token).status == 502
        found = measured(server, token, 9)
        host = upstream.url.split("/")[2]
        assert found("pinwheel_upstream_requests_total", host=host, outcome="200") == 2
        assert found("pinwheel_upstream_requests_total", host=host, outcome="500") == 3
        assert found("pinwheel_upstream_requests_total", host=host, outcome="not asked: it keeps failing") == 2
        assert found("pinwheel_upstream_seconds_count", host=host) == 5
        assert found("pinwheel_upstream_cache_total", kind="file", result="hit") == 1
        assert found("pinwheel_upstream_cache_total", kind="file", result="miss") == 1
        assert found("pinwheel_upstream_cache_total", kind="page", result="hit") == 1


def test_the_metrics_are_for_who_may_read_every_project(server: Server, token: str) -> None:
    assert server.ask("GET", METRICS).status == 401
    assert server.ask("GET", METRICS, server.token("uploader", "upload")).status == 403
    assert server.ask("GET", METRICS, server.token("some", "read", projects=("acme-*",))).status == 403
    assert server.ask("GET", METRICS, token).headers["content-type"].startswith("text/plain; version=0.0.4")


def test_each_request_is_a_line_without_secrets(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with running.running(tmp_path / "data", "--access-log", str(log)) as server:
        token = server.token("ci", "read", "upload")
        made = wheel("acme", padding=6 * 1024 * 1024)
        server.upload(made, token)
        server.ask("GET", f"/simple/acme/?token={token}", token, headers={"User-Agent": 'pip/25 "a\tb"'})
        server.ask("GET", f"/files/{made.sha256}/{made.filename}", token)
        server.ask("HEAD", f"/files/{made.sha256}/{made.filename}", token)
        server.ask("GET", "/simple/", "wrong-password")
        eventually(lambda: len(lines(log)) == 5)
        found = lines(log)
        assert all(set(each) == LINE for each in found)
        upload, page, file, head, wrong = found
        assert (upload["method"], upload["path"], upload["principal"], upload["status"]) == ("POST", "/", "ci", 200)
        assert (page["path"], page["user_agent"], page["address"]) == (
            "/simple/acme/",
            'pip/25 "a\tb"',
            "127.0.0.1",
        )
        assert (file["bytes"], head["bytes"]) == (len(made.content), 0)
        assert (wrong["principal"], wrong["status"]) == (None, 401)
        assert token not in log.read_text()
        assert "wrong-password" not in log.read_text()
    assert log.stat().st_mode & 0o007 == 0


@pytest.mark.slow
def test_a_log_that_was_renamed_is_begun_anew_on_sighup(tmp_path: Path) -> None:
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with running.running(tmp_path / "data", "--workers", "1", "--access-log", str(log)) as server:
        server.ask("GET", "/-/health")
        eventually(lambda: len(lines(log)) == 1)
        log.rename(old)
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: any(line.startswith("restarted") for line in server.log))
        server.ask("GET", "/-/ready")
        eventually(lambda: [each["path"] for each in lines(log)] == ["/-/ready"])
        assert len(lines(old)) == 1


def test_a_log_that_cannot_be_written_is_told_before_the_start(tmp_path: Path) -> None:
    log = tmp_path / "missing" / "access.log"
    done = running.run_pinwheel("index.serve", "--data", str(tmp_path / "data"), "--access-log", str(log))
    assert (done.returncode, "--access-log" in done.stderr, str(log) in done.stderr) == (1, True, True)
