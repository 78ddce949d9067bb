"""nginx before gunicorn: a client at a thousand requests a second sees no error through anything that deploy does."""

from __future__ import annotations

import functools
import http.client
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.bare import wait_until
from tests.deploy.beside import BesideHost, beside_host
from tests.ports import free_port

from pinwheel import config

pytestmark = pytest.mark.slow  # needs nginx, which .ci/run installs, and gunicorn, which the test does

GUNICORN = "gunicorn==23.0.0"
OLD, NEW, BROKEN = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb", "1.2.0-cccccccc"
RATE_PER_S = 1000
CLIENTS = 8

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream shop {{ server unix:{socket}; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://shop; proxy_set_header Host $host; }}
  }}
}}
"""
"""Nobody ever reloads it."""

APPLICATION = """
def application(environ, start_response):
    sick = "{release}" == "{broken}" and environ["PATH_INFO"] == "/health"
    start_response("500 Oh" if sick else "200 OK", [("Content-Type", "text/plain")])
    return [b"{release}"]
"""


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtualenv that has it."""
    folder = tmp_path_factory.mktemp("gunicorn") / "venv"
    for words in (("venv", str(folder)), ("pip", "install", "--python", str(folder), GUNICORN)):
        done = subprocess.run([sys.executable, "-P", "-m", "uv", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "bin/gunicorn"


class GunicornHost(BesideHost):
    """Its `web` is gunicorn with an application that answers with the name of its release."""

    gunicorn = Path()

    def add_release(self, name: str) -> Path:
        folder = super().add_release(name)
        (folder / "shop.py").write_text(APPLICATION.format(release=name, broken=BROKEN))
        return folder

    def application(self, mode: str = "good", **health: Any) -> config.Application:
        words = ("--bind", "unix:{socket}", "--chdir", "{release}", "--workers", "2", "--threads", "4")
        web = config.Program(
            command=(str(self.gunicorn), *words, "shop"),
            zero_downtime=True,
            health=config.Health(**{"http": "http://shop.test/health", "deadline_s": 20, **health}),
        )
        return config.Application(programs={"web": web})


@pytest.fixture
def host(gunicorn: Path) -> Iterator[GunicornHost]:
    with beside_host(GunicornHost) as made:
        made.gunicorn = gunicorn
        assert made.activate(OLD, None)["outcome"] == "activated"
        yield made


@pytest.fixture
def port(host: GunicornHost) -> Iterator[int]:
    """Where nginx listens."""
    nginx = shutil.which("nginx") or pytest.skip("nginx is not installed")
    folder, port = host.root.parent, free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, socket=host.front_door, port=port))
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        wait_until(functools.partial(answers, port), "nginx")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        return ask(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) == OLD
    except (OSError, http.client.HTTPException):
        return False


def ask(connection: http.client.HTTPConnection) -> str:
    """Raises `OSError` or `HTTPException`; another status than 200 is one."""
    connection.request("POST", "/", b"x" * 100)  # nobody, nginx least of all, may try a POST twice
    answer = connection.getresponse()
    body = answer.read().decode()
    if answer.status != 200:
        raise http.client.HTTPException(f"{answer.status}: {body}")
    return body


@dataclass
class Load:
    """Clients that together ask `RATE_PER_S` times a second, or as often as the machine can; half of them keep their
    connection, half make a new one for each request."""

    port: int
    seen: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def client(self, number: int) -> None:
        keeps, pause_s, kept = number % 2 == 0, CLIENTS / RATE_PER_S, None
        due = time.monotonic()
        while not self.gone.is_set():
            connection = kept or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                self.seen.append(ask(connection))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"client {number} after {len(self.seen)} requests: {error!r}")
                connection.close()
                kept = None
                continue
            kept = connection if keeps else None
            if not keeps:
                connection.close()
            due = max(due + pause_s, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self.client, args=(each,), daemon=True) for each in range(CLIENTS)]
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        for each in self.threads:
            each.join(30)


def test_an_activation_a_failed_one_and_a_rollback_fail_no_request(host: GunicornHost, port: int) -> None:
    with Load(port) as load:
        assert host.activate(NEW, OLD)["outcome"] == "activated"
        assert host.activate(BROKEN, NEW, deadline_s=2)["outcome"] == "reverted"
        assert host.back(OLD, NEW)["outcome"] == "activated"
    assert load.failures == []
    assert len(load.seen) > 2000
    assert set(load.seen) == {OLD, NEW}, "nobody has seen the broken one"
    assert (load.seen[0], load.seen[-1]) == (OLD, OLD)
