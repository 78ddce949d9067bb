"""Wheels for the tests, made on the spot: a tiny service, and again what is installed beside these tests."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from collections.abc import Mapping
from pathlib import Path

SERVICE = '''"""A service that says its version; it is as healthy as it was built to be."""
import http.server, sys

VERSION, SAYS, HEALTHY = {version!r}, {says!r}, {healthy!r}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = HEALTHY or self.path != "/health"
        body = (SAYS if good else "no database").encode()
        self.send_response(200 if good else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def main():
    print("tiny", VERSION, "starts", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
'''


def tiny(folder: Path, version: str, *, healthy: bool = True, says: str = "") -> Path:
    """acme-tiny: a wheel without dependencies whose script serves HTTP on a port."""
    info = f"acme_tiny-{version}.dist-info"
    files = {
        "acme_tiny/__init__.py": SERVICE.format(version=version, says=says or version, healthy=healthy).encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: acme-tiny\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nacme-tiny = acme_tiny:main\n",
    }
    return _packed(folder / f"acme_tiny-{version}-py3-none-any.whl", info, files)


def part(folder: Path, name: str, version: str, body: bytes = b"") -> Path:
    """A wheel with a module called as it is, and a script that says where it lives."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": body or f"import sys\nVERSION = {version!r}\ndef main():\n    print(sys.prefix)\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n".encode(),
    }
    return _packed(folder / f"{name}-{version}-py3-none-any.whl", info, files)


def broken(folder: Path) -> Path:
    """A wheel whose module needs what is not among its dependencies."""
    info = "acme_broken-1.0.0.dist-info"
    files = {
        "acme_broken.py": b"import nobody_installs_this\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: acme-broken\nVersion: 1.0.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return _packed(folder / "acme_broken-1.0.0-py3-none-any.whl", info, files)


def pylock(project: str, version: str, sha256: str) -> bytes:
    """The lock of a project of one wheel and without dependencies."""
    stem = project.replace("-", "_")
    wheel = f'{{name = "{stem}-{version}-py3-none-any.whl", size = 1000, hashes = {{sha256 = "{sha256}"}}}}'
    text = f'lock-version = "1.0"\ncreated-by = "tests"\n[[packages]]\nname = "{project}"\nversion = "{version}"\n'
    return f"{text}wheels = [{wheel}]\n".encode()


def installed(folder: Path, name: str) -> Path:
    """The wheel of a distribution of this very environment, so that no registry is needed."""
    found = importlib.metadata.distribution(name)
    info = f"{name}-{found.version}.dist-info"
    tags = [line.partition(": ")[2] for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag")]
    python = ".".join(sorted({tag.split("-")[0] for tag in tags}))
    platform = ".".join(sorted({tag.split("-")[2] for tag in tags}))
    has_scripts = "[console_scripts]" in (found.read_text("entry_points.txt") or "")
    files = {}
    for file in found.files or ():
        path = str(file)
        if path.endswith((".pyc", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json")):
            continue
        if path.startswith(".."):
            if has_scripts:
                continue  # the installer writes these anew
            path = f"{name}-{found.version}.data/scripts/{file.name}"
        files[path] = Path(str(file.locate())).read_bytes()
    return _packed(folder / f"{name}-{found.version}-{python}-none-{platform}.whl", info, files)


def _packed(file: Path, info: str, files: Mapping[str, bytes]) -> Path:
    record = [f"{path},sha256={_digest(body)},{len(body)}\n" for path, body in files.items()]
    with zipfile.ZipFile(file, "w") as wheel:
        for path, body in files.items():
            wheel.writestr(path, body)
        wheel.writestr(f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]))
    return file


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
