"""The clients that everybody has, against a real server: pip, uv, twine. `test_real_*.py` ask more of more of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.index.making import Made, sdist, wheel
from tests.index.running import JSON, Server, environment, names

from pinwheel.index.client import IndexClient


def credentialed(server: Server, token: str) -> str:
    return IndexClient(server.url, token).credentialed_simple_url()


def uv() -> str:
    from uv import find_uv_bin

    return find_uv_bin()


def run(*argv: str, timeout_s: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=environment(**env), capture_output=True, text=True, timeout=timeout_s, check=False)


def pip_install(server: Server, token: str, target: Path, *what: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-P", "-m", "pip", "install", "--target", str(target), "--no-input", *what)
    return run(*argv, PIP_INDEX_URL=credentialed(server, token), PIP_CACHE_DIR=str(target.parent / "pip-cache"))


def uv_install(server: Server, token: str, target: Path, *what: str) -> subprocess.CompletedProcess[str]:
    argv = (uv(), "pip", "install", "--python", sys.executable, "--target", str(target), *what)
    return run(*argv, UV_DEFAULT_INDEX=credentialed(server, token), UV_CACHE_DIR=str(target.parent / "uv-cache"))


INSTALLERS = pytest.mark.parametrize("install", [pip_install, uv_install], ids=["pip", "uv"])


@INSTALLERS
def test_an_installer_gets_a_distribution_and_what_it_requires(
    server: Server, token: str, tmp_path: Path, install: object
) -> None:
    name = f"inst-{'pip' if install is pip_install else 'uv'}"
    assert server.upload(wheel(f"{name}-base", "1.0.0", code="x = 1"), token).status == 200
    main = wheel(name, "1.0.0", requires=[f"{name}-base>=1"], requires_python=">=3.8")
    assert server.upload(main, token).status == 200
    assert callable(install)
    done = install(server, token, tmp_path / "site", name)
    assert done.returncode == 0, done.stderr
    module = name.replace("-", "_")
    assert {f"{module}.py", f"{module}_base.py"} <= {each.name for each in (tmp_path / "site").iterdir()}
    assert token not in done.stdout + done.stderr


@INSTALLERS
def test_a_wrong_credential_fails(server: Server, token: str, tmp_path: Path, install: object) -> None:
    server.upload(wheel("locked-up"), token)
    assert callable(install)
    assert install(server, "wrong", tmp_path / "site", "locked-up").returncode != 0


def test_uv_sees_files_by_their_upload_time(server: Server, token: str, tmp_path: Path) -> None:
    server.upload(wheel("timely"), token)
    for before, works in (("2999-01-01T00:00:00Z", True), ("2001-01-01T00:00:00Z", False)):
        target = tmp_path / before[:4]
        done = uv_install(server, token, target, "timely", "--exclude-newer", before)
        assert (done.returncode == 0) is works, done.stderr


def test_pip_downloads_an_sdist(server: Server, token: str, tmp_path: Path) -> None:
    made = sdist("only-source")
    server.upload(made, token)
    page = server.ask("GET", "/simple/only-source/", token, headers=JSON)
    assert page.json()["files"][0]["core-metadata"]
    argv = (uv(), "pip", "compile", "--python", sys.executable, "--no-header", "-")
    done = subprocess.run(
        argv,
        input="only-source",
        env=environment(UV_DEFAULT_INDEX=credentialed(server, token), UV_CACHE_DIR=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "only-source==1.0.0" in done.stdout, done.stderr


def twine(server: Server, token: str, path: str, *files: Path) -> subprocess.CompletedProcess[str]:
    flags = ("--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", server.url + path)
    argv = (sys.executable, "-P", "-m", "twine", "upload", *flags, *map(str, files))
    # a cell wide enough for a message: rich would fold it
    return run(*argv, TWINE_USERNAME="__token__", TWINE_PASSWORD=token, COLUMNS="1000")


def written(tmp_path: Path, *made: Made) -> list[Path]:
    for each in made:
        (tmp_path / each.filename).write_bytes(each.content)
    return [tmp_path / each.filename for each in made]


def test_twine_uploads(server: Server, token: str, tmp_path: Path) -> None:
    files = written(tmp_path, sdist("twined"), wheel("twined"))
    for path in ("", "legacy/"):  # the same bytes again are fine
        done = twine(server, token, path, *files)
        assert done.returncode == 0, done.stdout + done.stderr
    page = server.ask("GET", "/simple/twined/", token, headers=JSON)
    assert sorted(names(page)) == sorted(file.name for file in files)


def test_twine_shows_why_an_upload_is_refused(server: Server, token: str, tmp_path: Path) -> None:
    first, second = wheel("twice"), wheel("twice", code="other = True")
    assert twine(server, token, "", *written(tmp_path, first)).returncode == 0
    done = twine(server, token, "", *written(tmp_path, second))
    assert done.returncode != 0
    assert first.sha256 in done.stdout + done.stderr
    assert second.sha256 in done.stdout + done.stderr


def test_uv_publishes(server: Server, token: str, tmp_path: Path) -> None:
    files = written(tmp_path, sdist("uv-published"), wheel("uv-published"))
    argv = (uv(), "publish", "--publish-url", server.url + "legacy/", "--trusted-publishing", "never", *map(str, files))
    for _ in range(2):
        done = run(*argv, UV_PUBLISH_TOKEN=token, UV_CACHE_DIR=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
    assert len(names(server.ask("GET", "/simple/uv-published/", token, headers=JSON))) == 2


@pytest.mark.slow
def test_a_large_upload_has_one_temporary_copy_and_flat_memory(server: Server, token: str, tmp_path: Path) -> None:
    (file,) = written(tmp_path, wheel("large", padding=300 * 2**20))
    before = max(peak(pid) for pid in server.workers())
    assert twine(server, token, "", file).returncode == 0
    assert max(peak(pid) for pid in server.workers()) < before + 64 * 2**20


def peak(pid: int) -> int:
    """The most memory that a process ever held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_nothing_of_the_callers_configuration_was_used() -> None:
    assert environment()["PIP_CONFIG_FILE"] == os.devnull
