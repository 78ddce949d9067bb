"""A lock installs with the real tools, on line and off, and none of them takes a wheel with other bytes."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, repository, tiny_files
from tests.packaging.running import RunningIndex
from uv import find_uv_bin

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow

OLD_PIP = "22.3"
HASHED = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", "requirements.txt")


@dataclass(frozen=True, slots=True)
class Locked:
    """The folder `home` with both documents of a lock in it, the index, and a pip from before `pylock.toml`."""

    index: RunningIndex
    home: Path
    old_pip: Path

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        simple = IndexClient(self.index.url, self.index.token).credentialed_simple_url()
        environ = self.index.environ(self.home) | {"PIP_CONFIG_FILE": "/dev/null", "UV_NO_CONFIG": "1"}
        environ |= {"PIP_INDEX_URL": simple, "UV_DEFAULT_INDEX": simple, "PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
        environ.pop("PIP_FIND_LINKS", None)
        return subprocess.run(words, cwd=self.home, env=environ | env, capture_output=True, text=True, check=False)

    def commands(self, site: str, pylock: str, links: str = "") -> dict[str, tuple[str, ...]]:
        """How each tool installs into `site`: `pylock.toml` from the folder `pylock`, requirements from the index or
        from the folder `links`."""
        offline = ("--no-index", "--find-links", links) if links else ()
        into = ("--quiet", "--target", site)
        return {
            "pip and requirements": (sys.executable, "-P", "-m", "pip", "install", *into, *offline, *HASHED),
            "old pip and requirements": (str(self.old_pip), "install", *into, *offline, *HASHED),
            "uv and requirements": (find_uv_bin(), "pip", "install", *into, *offline, *HASHED),
            "pip and pylock": (sys.executable, "-P", "-m", "pip", "install", *into, "-r", f"{pylock}/pylock.toml"),
            "uv and pylock": (find_uv_bin(), "pip", "sync", *into, f"{pylock}/pylock.toml"),
        }

    def imports(self, site: str) -> bool:
        argv = (sys.executable, "-c", "import acme_lock_shop, acme_lock_greet, iniconfig")
        return subprocess.run(argv, cwd=self.home / site, check=False).returncode == 0


@pytest.fixture(scope="module")
def locked(index: RunningIndex, tmp_path_factory: pytest.TempPathFactory) -> Locked:
    folder = tmp_path_factory.mktemp("locked")
    home = folder / "home"
    greet, shop = repository(folder / "greet"), repository(folder / "shop")
    greet.commit(tiny_files("acme-lock-greet"), "v1.0.0")
    shop.commit(tiny_files("acme-lock-shop", needs=("acme-lock-greet>=1", "iniconfig")), "v1.0.0")
    for remote in (greet, shop):
        index.document(home, "packaging.release", "--repo", remote.address)
    index.document(home, "packaging.lock", "acme-lock-shop==1.0.0", "--out", ".")
    old = folder / "old"
    for words in (
        ("venv", "--quiet", str(old)),
        ("pip", "install", "--quiet", "--python", str(old), f"pip=={OLD_PIP}"),
    ):
        environ = index.environ(home) | {
            "UV_DEFAULT_INDEX": IndexClient(index.url, index.token).credentialed_simple_url()
        }
        subprocess.run((find_uv_bin(), *words), env=environ, check=True)
    return Locked(index, home, old / "bin" / "pip")


def test_every_tool_installs_a_lock_from_the_index(locked: Locked) -> None:
    for number, (tool, words) in enumerate(locked.commands("", ".").items()):
        site = f"site-{number}"
        done = locked.run(*(site if word == "" else word for word in words))
        assert done.returncode == 0, f"{tool}: {done.stderr}"
        assert locked.imports(site), tool


@pytest.fixture
def wheels(locked: Locked) -> Path:
    """The wheels of the lock in a folder, which is all that there is when nobody is on line."""
    folder = locked.home / "wheels"
    if not folder.is_dir():
        words = (sys.executable, "-P", "-m", "pip", "download", "--quiet", "--dest", "wheels", *HASHED)
        assert locked.run(*words).returncode == 0
    return folder


def test_every_tool_installs_a_lock_from_a_folder_alone(locked: Locked, wheels: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/"}
    for number, (tool, words) in enumerate(locked.commands("", ".", str(wheels)).items()):
        if "pylock" in tool:
            continue  # it names addresses
        site = f"offline-{number}"
        done = locked.run(*(site if word == "" else word for word in words), **nowhere)
        assert done.returncode == 0, f"{tool}: {done.stderr}"
        assert locked.imports(site), tool


@pytest.fixture
def tampered(locked: Locked, wheels: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with one wheel changed, and beside it the pylock.toml, whose addresses lead there."""
    for wheel in wheels.iterdir():
        (tmp_path / wheel.name).write_bytes(wheel.read_bytes())
    (victim,) = tmp_path.glob("iniconfig-*.whl")
    victim.write_bytes(victim.read_bytes().replace(b"iniconfig/", b"iniconfjg/"))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}/"
        text = (locked.home / "pylock.toml").read_text().splitlines()
        moved = [
            line if "iniconfig" not in line or "url" not in line else _moved(line, base + victim.name) for line in text
        ]
        (tmp_path / "pylock.toml").write_text("\n".join(moved))
        yield tmp_path
        server.shutdown()


def _moved(line: str, address: str) -> str:
    before, _, rest = line.partition('url = "')
    return f'{before}url = "{address}"{rest.partition(chr(34))[2]}'


def test_no_tool_takes_a_wheel_with_other_bytes(locked: Locked, tampered: Path) -> None:
    for number, (tool, words) in enumerate(locked.commands("", str(tampered), str(tampered)).items()):
        site = f"tampered-{number}"
        done = locked.run(*(site if word == "" else word for word in words))
        assert done.returncode != 0, tool
        assert "hash" in (done.stderr + done.stdout).lower(), f"{tool}: {done.stderr}"
        assert not (locked.home / site / "iniconfig").exists()


def test_a_lock_is_checked_and_compared_with_the_one_before(locked: Locked, index: RunningIndex) -> None:
    home, folder = locked.home, locked.home.parent
    check = ("packaging.lock", "acme-lock-shop==1.0.0", "--check")
    assert index.document(home, *check)["check"]["faults"] == []

    greet, shop = (folder / name for name in ("greet", "shop"))
    first = Repository(greet).head
    second = Repository(greet).commit(tiny_files("acme-lock-greet", "1.1.0"), "v1.1.0")
    Repository(shop).commit(tiny_files("acme-lock-shop", "1.1.0", needs=("acme-lock-greet>=1",)), "v1.1.0")
    for each in (greet, shop):
        index.document(home, "packaging.release", "--repo", str(each))
    done = index.run(home, *check)
    assert done.returncode == 4, "a new lock would differ"
    assert "acme-lock-greet: 1.0.0 became 1.1.0" in done.stdout

    index.document(home, "packaging.lock", "acme-lock-shop==1.1.0")
    found = index.document(home, "packaging.lock", "--diff", "1.0.0", "acme-lock-shop==1.1.0")["diff"]["changes"]
    by_name = {each["name"]: each for each in found}
    assert {name: each["kind"] for name, each in by_name.items()} == {
        "acme-lock-greet": "version",
        "acme-lock-shop": "version",
        "iniconfig": "removed",
    }
    assert (by_name["acme-lock-greet"]["from"]["commit"], by_name["acme-lock-greet"]["to"]["commit"]) == (first, second)
    told = index.run(home, "packaging.lock", "--diff", "1.0.0", "acme-lock-shop==1.1.0").stdout
    assert f"acme-lock-greet: 1.0.0 became 1.1.0 (v1.0.0 {first[:12]} → v1.1.0 {second[:12]})" in told

    index.run(home, "index.yank", "acme-lock-greet==1.0.0", "--reason", "it is rude")
    done = index.run(home, *check, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["check"]["faults"] == ["acme-lock-greet 1.0.0 is yanked: it is rude"]
