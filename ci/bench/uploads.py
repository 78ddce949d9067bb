"""Uploads of small wheels by several clients at once, as the legacy upload form carries them."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ci.bench import wheels
from ci.bench.children import BenchFailed

CLIENTS = 4
_numbers = itertools.count()


def per_second(url: str, headers: dict[str, str], seconds: float) -> float:
    """How many new wheels a second `CLIENTS` clients bring in. Each keeps its connection. Raises on any refusal."""
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder:
        # more than any server takes in this time
        forms = iter([form(Path(folder), next(_numbers)) for _ in range(int(seconds * 600))])
        return _sent(url, headers, seconds, forms)


def _sent(url: str, headers: dict[str, str], seconds: float, forms: Iterator[tuple[bytes, str]]) -> float:
    address = urlsplit(url)
    deadline = time.monotonic() + seconds
    sent: list[int] = []
    refused: list[str] = []
    taking = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        while time.monotonic() < deadline and not refused:
            with taking:
                body, kind = next(forms)
            connection.request("POST", address.path, body, {"Content-Type": kind, **headers})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status >= 300:
                refused.append(f"{url} refused an upload with {answer.status}: {said[:300].decode(errors='replace')}")
                return
            sent.append(1)
        connection.close()

    def guarded() -> None:
        try:
            client()
        except (OSError, http.client.HTTPException, StopIteration) as error:
            refused.append(f"{url}: an upload failed: {error!r}")

    started = time.monotonic()
    clients = [threading.Thread(target=guarded) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    if refused:
        raise BenchFailed(refused[0])
    return len(sent) / (time.monotonic() - started)


def form(folder: Path, number: int) -> tuple[bytes, str]:
    """The body of an upload that nobody has sent yet, and its content type."""
    name, version = f"uploaded-{number % 50}", f"1.{number}"
    path = wheels.write(folder, name, version, {f"uploaded_{number % 50}.py": secrets.token_hex(200).encode()})
    content = path.read_bytes()
    boundary = secrets.token_hex(16)
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "sha256_digest": hashlib.sha256(content).hexdigest(),
    }
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{path.name}"\r\n'
    parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
