"""I12 in a network namespace of its own: run as a script inside `unshare`, tells on stdout who asked whom for what.

There every name of a host is looked up at a recording resolver on loopback, which finds everything there, and the
upstream records what it is asked for. There is no other network.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.index import running
from tests.index.making import wheel
from tests.index.running import Server, Upstream, call, environment, upload
from uv import find_uv_bin

from pinwheel.index.entries import Act
from pinwheel.index.server.assembly import Setup, application, now, stored

RESOLVER = "127.0.0.1"


def secluded(folder: Path) -> None:
    """Bring loopback up, and make our resolver the only one."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name, text in (("resolv.conf", f"nameserver {RESOLVER}\n"), ("nsswitch.conf", "hosts: dns\n")):
        (folder / name).write_text(text)
        subprocess.run(["mount", "--bind", str(folder / name), f"/etc/{name}"], check=True)


def resolver(asked: list[str]) -> None:
    """Answer every question for an address with loopback's, and remember its name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((RESOLVER, 53))

    def answer() -> None:
        while True:
            question, sender = server.recvfrom(4096)
            labels, rest = [], question[12:]
            while rest[0]:
                labels.append(rest[1 : 1 + rest[0]].decode())
                rest = rest[1 + rest[0] :]
            asked.append(".".join(labels))
            end = len(question) - len(rest) + 5
            is_a = rest[1:3] == b"\x00\x01"
            head = question[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if is_a else b"\x00\x00") + bytes(4)
            record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04" + socket.inet_aton("127.0.0.1")
            server.sendto(head + question[12:end] + (record if is_a else b""), sender)

    threading.Thread(target=answer, daemon=True).start()


class Clients:
    """pip and uv with one index and nothing cached."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.outcomes: dict[str, list[bool]] = {}

    def install(self, case: str, url: str, *what: str, extra: str = "") -> None:
        self._runs += 1
        place = self._folder / f"run-{self._runs}"
        pip = [sys.executable, "-P", "-m", "pip", "install", "--no-input", "--retries", "0", "--no-cache-dir"]
        uv = [find_uv_bin(), "pip", "install", "--python", sys.executable, "--no-cache"]
        env = environment(
            PIP_INDEX_URL=url, PIP_EXTRA_INDEX_URL=extra,
            PIP_TRUSTED_HOST="index.test upstream.test", PIP_DISABLE_PIP_VERSION_CHECK="1", UV_DEFAULT_INDEX=url,
            UV_HTTP_RETRIES="0", **({"UV_INDEX": extra} if extra else {}),
        )  # fmt: skip
        env = {key: value for key, value in env.items() if not key.lower().endswith("_proxy")}
        done = [
            subprocess.run(
                [*argv, "--target", str(place / argv[0].rpartition("/")[2]), *what],
                env=env, capture_output=True, text=True, timeout=120, check=False,
            ).returncode
            for argv in (pip, uv)
        ]  # fmt: skip
        self.outcomes[case] = [code == 0 for code in done]


def every_way(server: Server, token: str, name: str) -> None:
    """Ask for a name by each address that there is."""
    public = wheel(name, "99.0")
    spelled = name.replace("-", "_").title()
    for path in (
        *(f"/simple/{each}/" for each in (name, spelled, name.replace("-", "."))),
        f"/c/main/simple/{name}/",
        f"/{name}/json",
        f"/{name}/",
        f"/-/projects/{name}",
        f"/packages/{public.filename}",
        *(f"/files/{public.sha256}/{public.filename}{end}" for end in ("", ".metadata")),
        *(f"/files/{public.sha256}/{spelled}-{version}.tar.gz" for version in ("99.0", "1.0-1")),
    ):
        for method in ("GET", "HEAD"):
            for credential in (token, "wrong"):
                server.ask(method, path, credential)


def main(folder: Path) -> dict[str, Any]:
    secluded(folder)
    asked: list[str] = []
    resolver(asked)
    data = folder / "data"
    clients = Clients(folder)
    with ExitStack() as stack:
        upstream: Upstream = stack.enter_context(running.upstream())
        upstream.add(*(wheel(name, "99.0") for name in ("acme-reserved", "held", "emptied")), wheel("open", "1.0"))
        address = upstream.url.replace("127.0.0.1", "upstream.test")
        stored(data, create=True).close()
        token = running.make_token(data, "t", "read", "upload")
        app = application(Setup(data))
        emptied, held = wheel("emptied"), wheel("held")
        for made in (emptied, held):
            assert upload(app, made, token).status == 200
        index = stored(data)
        index.releases.remove(emptied.project, emptied.version, Act(now(), "t"))
        index.close()
        assert call(app, "GET", "/simple/emptied/", token).status == 404
        with running.running(data, "--upstream", address, "--private", "acme-*") as server:
            url = server.url.replace("127.0.0.1", "index.test").replace("://", f"://__token__:{token}@") + "simple/"
            clients.install("public", url, "open")
            clients.install("held", url, "held==1.0.0")
            clients.install("held, the public version", url, "held==99.0")
            for name in ("acme-reserved", "emptied"):
                clients.install(name, url, name)
                clients.install(f"{name}, wrong credential", url.replace(token, "wrong"), name)
                every_way(server, token, name)
        clients.install("index down", url, "acme-reserved", "held")
        told = {"resolver": sorted(set(asked)), "upstream": sorted(set(upstream.requests))}
        clients.install("index down, and an extra index", url, "acme-reserved", extra=address)
        extra = sorted(set(upstream.requests) - set(told["upstream"]))
    return told | {"with an extra index": extra, "installed": clients.outcomes}


if __name__ == "__main__":
    found = main(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(found))
