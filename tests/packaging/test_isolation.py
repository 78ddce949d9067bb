"""Other people's code has no network where the kernel allows that, and what it sees besides is on a list."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.index.making import wheel
from tests.index.running import Upstream, upstream
from tests.packaging.forge import Repository, Workshop, project_files, tiny_files
from tests.packaging.running import RunningIndex

from pinwheel import process
from pinwheel.packaging import statement
from pinwheel.packaging.building import isolation
from pinwheel.packaging.building.assemble import BuildFailed
from pinwheel.packaging.releasing.release import release
from pinwheel.packaging.work import Failure, Release, Wanted

MakeRepository = Callable[[str], Repository]

SEEN = {
    *("CPPFLAGS", "HOME", "LC_ALL", "PATH", "TZ", "SOURCE_DATE_EPOCH"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONNOUSERSITE", "PYTHONUNBUFFERED"),
    *("PIP_CONFIG_FILE", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_NO_CONFIG"),
    *("SETUPTOOLS_SCM_PRETEND_VERSION", "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_ACME_TINY"),
    *("PBR_VERSION", "PDM_BUILD_SCM_VERSION", "POETRY_DYNAMIC_VERSIONING_BYPASS"),
    # of the front end
    *("_PYPROJECT_HOOKS_BUILD_BACKEND", "_PYPROJECT_HOOKS_BACKEND_PATH_JSON"),
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who takes connections on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def calling(listener: socket.socket) -> str:
    """Python code that connects to it."""
    return f"import socket; socket.create_connection({listener.getsockname()!r}, 5).close()"


def one(workshop: Workshop, wanted: Wanted) -> Release:
    (outcome,) = release([wanted], workshop.tools)
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def test_what_is_cut_off_reaches_nobody_and_is_still_the_same_user(listener: socket.socket) -> None:
    prefix = isolation.cut_off()
    if not prefix:
        pytest.skip("neither root nor unprivileged user namespaces here")
    call = (sys.executable, "-I", "-c", calling(listener))
    assert process.run(call).exit_code == 0
    listener.accept()[0].close()
    assert "unreachable" in process.run((*prefix, *call)).errors
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert process.run((*prefix, "id", "-u")).output == process.run(("id", "-u")).output


def test_where_the_kernel_or_the_machine_has_no_way_there_is_no_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (
        ("readlink", "exit 0"),
        ("unshare", "echo 'unshare failed: Operation not permitted' >&2; exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation.cut_off.__wrapped__() == ()
    (tmp_path / "unshare").unlink()
    assert isolation.cut_off.__wrapped__() == ()


def test_p6_the_backend_sees_what_is_on_the_list_and_nothing_else(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    out = tmp_path / "seen"
    spy = f"import json\nopen({str(out)!r}, 'a').write(json.dumps(dict(os.environ)) + chr(10))\n"
    remote.commit(tiny_files("acme-tiny", backend=spy), "v1.0.0")
    one(workshop, Wanted(remote.address, name="acme-tiny"))
    seen = {name for line in out.read_text().splitlines() for name in json.loads(line)}
    assert seen - {*process.PASSED_ON} == SEEN - {*process.PASSED_ON}


@pytest.mark.root
def test_a_backend_that_opens_a_socket_fails_unless_its_project_may(
    workshop: Workshop, make_repository: MakeRepository, listener: socket.socket
) -> None:
    assert isolation.cut_off(), "root can always be cut off"
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny", backend=calling(listener) + "\n"), "v1.0.0")
    wanted = Wanted(remote.address, name="acme-tiny", declared=True)
    with pytest.raises(BuildFailed, match="Network is unreachable"):
        one(workshop, wanted)
    with pytest.raises(BlockingIOError):
        listener.accept()
    made = one(workshop, Wanted(remote.address, name="acme-tiny", declared=True, network=True))
    listener.accept()[0].close()
    assert told(workshop, made) == {"open"}


@pytest.mark.root
def test_the_statement_says_that_there_was_no_network(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    assert told(workshop, one(workshop, Wanted(remote.address))) == {"none"}


def told(workshop: Workshop, made: Release) -> set[str]:
    """What the statements of a release say of the network."""
    names = [statement.attachment_name(file.filename) for file in made.files]
    bodies = [workshop.shelf.attachment(made.name, made.version, name) for name in names]
    return {statement.read(body or b"").provenance.network for body in bodies}


@pytest.fixture
def decoy() -> Iterator[Upstream]:
    """An index on loopback that has a higher version of everything that a build with hatchling installs."""
    with upstream() as listening:
        for name in ("hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers", "pip", "acme-decoyed"):
            listening.add(wheel(name, "999.0"))
        yield listening


@pytest.mark.slow
def test_p5_an_index_that_anybody_else_names_hears_nothing(
    index: RunningIndex, decoy: Upstream, tmp_path: Path, make_repository: MakeRepository
) -> None:
    """Named by the user's files, by the user's variables, by the repository's own files, all at once."""
    simple, home = decoy.url, tmp_path / "home"
    pip = f"[global]\nindex-url = {simple}\nextra-index-url = {simple}\nfind-links = {simple}pip/\n"
    uv = f'[[index]]\nname = "decoy"\nurl = "{simple}"\ndefault = true\n[pip]\nextra-index-url = ["{simple}"]\n'
    for file, text in (
        *((name, pip) for name in (".pip/pip.conf", ".config/pip/pip.conf")),
        (".config/uv/uv.toml", uv),
        (".pydistutils.cfg", f"[easy_install]\nindex-url = {simple}\n"),
    ):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text)
    named = (
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "UV_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
    )
    variables = dict.fromkeys(named, simple) | {"PIP_FIND_LINKS": f"{simple}pip/", "UV_FIND_LINKS": f"{simple}pip/"}
    remote = make_repository("decoyed")
    own = uv.replace("[pip]", "[tool.uv.pip]").replace("[[index]]", "[[tool.uv.index]]")
    files = project_files("acme-decoyed", extra=own) | {
        "uv.toml": uv,
        "pip.conf": pip,
        "requirements.txt": f"-i {simple}\n",
    }
    remote.commit(files, "v1.0.0")

    done = index.run(home, "packaging.release", "--repo", remote.address, **variables)
    assert done.returncode == 0, done.stderr
    locked = index.run(home, "packaging.lock", "acme-decoyed==1.0.0", **variables)
    assert locked.returncode == 0, locked.stderr
    assert decoy.requests == []

    argv = (sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "hatchling")
    subprocess.run(argv, cwd=home, env=os.environ | {"HOME": str(home)} | variables, check=True, timeout=120)
    assert (home / "hatchling-999.0-py3-none-any.whl").is_file(), "the decoy works on others"
