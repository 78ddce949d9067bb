"""The others: stock pypiserver and nginx, on this machine's own installation of them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ci.bench import children, machine

STOCK_SERVERS = ("waitress", "paste", "twisted", "cherrypy", "cheroot")
"""What `pypi-server` tries, in its order, before the standard library's one-thread server."""

NGINX_CONF = """
daemon off;
{user}
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  {settings}
  keepalive_requests 10000000;
  default_type application/octet-stream;
  types {{ text/html html; application/vnd.pypi.simple.v1+json json; }}
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {www}; index index.html index.json; }}
}}
"""


NGINX_USUAL = "sendfile on; tcp_nopush on;"
"""As Debian's nginx.conf has it."""

NGINX_TUNED = "sendfile off; open_file_cache max=1000 inactive=60s;"
"""Open files are remembered; and a reader on the same machine gets a copy sooner than a sendfile."""


SHIPPED = Path(__file__).parents[2] / "index" / "nginx.conf"
"""The configuration that we ship, for nginx before an index that keeps its pages as files."""

BEFORE_CONF = """
daemon off;
{user}
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  {settings}
  keepalive_requests 10000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{server}
}}
"""


def stock_server() -> str:
    """The WSGI server that stock pypiserver finds here."""
    return next((name for name in STOCK_SERVERS if importlib.util.find_spec(name)), "wsgiref")


@contextlib.contextmanager
def pypiserver(packages: Path, log: Path) -> Iterator[str]:
    """Stock pypiserver over a folder, open to everybody; gives its base address."""
    port = children.free_port()
    url = f"http://127.0.0.1:{port}/"
    argv = (
        *(machine.program("pypi-server"), "run", "--interface", "127.0.0.1", "--port", str(port)),
        *("--authenticate", ".", "--passwords", ".", "--disable-fallback", "--server", "auto", str(packages)),
    )
    with children.serving(argv, url, log):
        yield url


def has_nginx() -> bool:
    return shutil.which("nginx") is not None


@contextlib.contextmanager
def nginx(www: Path, folder: Path, settings: str) -> Iterator[str]:
    """nginx over the files of `www`, with its own files in `folder`; gives its base address."""
    (www / "up.html").touch()
    port = children.free_port()
    with _running(folder, port, "up.html", NGINX_CONF, www=www, settings=settings) as url:
        yield url


@contextlib.contextmanager
def nginx_before(index: str, static: Path, folder: Path, settings: str) -> Iterator[str]:
    """nginx before the index at that address (host and port), whose pages are files in `static`, as we ship it."""
    port = children.free_port()
    server = SHIPPED.read_text()
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8080;", f"server {index};"),
        ("/srv/pinwheel/static;", f"{static};"),
        ("/run/pinwheel-nginx", str(folder / "verdicts")),
    ):
        server = server.replace(old, new)
    server = "".join(line for line in server.splitlines(keepends=True) if "ssl_certificate" not in line)
    with _running(folder, port, "simple/", BEFORE_CONF, server=server, settings=settings) as url:
        yield url


@contextlib.contextmanager
def _running(folder: Path, port: int, answers: str, template: str, **filled: object) -> Iterator[str]:
    """nginx with a configuration of that template, from when it answers; gives its base address."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "nginx.conf"
    # started by root it would become nobody, who cannot read a private temporary folder
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(
        template.format(user=user, workers=len(os.sched_getaffinity(0)), folder=folder, port=port, **filled)
    )
    url = f"http://127.0.0.1:{port}/"
    argv = ("nginx", "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log"))
    with children.serving(argv, f"{url}{answers}", folder / "nginx.log"):
        yield url
