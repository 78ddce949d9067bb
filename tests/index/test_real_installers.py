"""Old and new installers get from the index what was published, at once and no other.

Over https with a certificate of our own: pip keeps nothing that came over http in its cache.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.index.foreign import Home, Tools
from tests.index.making import Made, metadata, wheel
from tests.index.running import JSON, Server, run_pinwheel

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]
Install = Callable[..., Done]


def by_pip(*requirement: str) -> Install:
    def install(tools: Tools, home: Home, url: str, *what: str | Path) -> Done:
        argv = ("-P", "-m", "pip", "install", "--no-input", "--target", "site", "--upgrade", *what)
        return home.run(tools.bin(*requirement) / "python", *argv, env={"PIP_INDEX_URL": url, "PIP_CACHE_DIR": "cache"})

    return install


def by_uv(tools: Tools, home: Home, url: str, *what: str | Path) -> Done:
    programs = tools.bin("uv")
    argv = ("pip", "install", "--python", programs / "python", "--target", "site", "--upgrade", *what)
    return home.run(programs / "uv", *argv, env={"UV_DEFAULT_INDEX": url, "UV_CACHE_DIR": "cache"})


INSTALLERS = pytest.mark.parametrize(
    ("install", "by"),
    [(by_pip("pip==22.3"), "pip-22-3"), (by_pip("pip"), "pip-newest"), (by_uv, "uv")],
    ids=["pip-22.3", "pip-newest", "uv"],
)


@pytest.fixture(scope="module")
def server(secure_server: Server) -> Server:
    return secure_server


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token("installers", "read", "upload", "admin")


@pytest.fixture
def home(home: Home, certificate: Path) -> Home:
    return replace(home, variables={"PIP_CERT": str(certificate), "SSL_CERT_FILE": str(certificate)})


@pytest.fixture
def url(server: Server, token: str) -> str:
    return IndexClient(server.url, token).credentialed_simple_url()


def buildable(name: str, version: str = "1.0.0") -> Made:
    """An sdist that needs nothing else to be built: its backend is in it, and gives out a wheel made before."""
    built = wheel(name, version, code="built = True\n")
    backend = (
        "import pathlib, shutil\n"
        f"def build_wheel(to, config_settings=None, metadata_directory=None):\n"
        f"    shutil.copy({built.filename!r}, to)\n    return {built.filename!r}\n"
    )
    members = {
        "PKG-INFO": metadata(name, version),
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend.encode(),
        built.filename: built.content,
    }
    folder = f"{name.replace('-', '_')}-{version}"
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as file:
        for path, body in members.items():
            info = tarfile.TarInfo(f"{folder}/{path}")
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return Made(name, version, f"{folder}.tar.gz", out.getvalue())


def installed(home: Home) -> set[str]:
    """The names and versions in the folder that was installed to."""
    return {info.name.removesuffix(".dist-info") for info in (home.work / "site").glob("*.dist-info")}


def publish(server: Server, token: str, *made: Made) -> None:
    for each in made:
        assert server.upload(each, token).status == 200


@INSTALLERS
def test_an_extra_brings_what_it_requires(
    tools: Tools, home: Home, server: Server, token: str, url: str, install: Install, by: str
) -> None:
    name = f"extra-{by}"
    publish(server, token, wheel(f"{name}-more"), wheel(name, requires=[f"{name}-more>=1; extra == 'fast'"]))
    for what, count in ((name, 1), (f"{name}[fast]", 2)):
        done = install(tools, home, url, what)
        assert done.returncode == 0, done.stderr
        assert len(installed(home)) == count


@INSTALLERS
def test_only_what_has_the_hash_is_installed(
    tools: Tools, home: Home, server: Server, token: str, url: str, install: Install, by: str
) -> None:
    made = wheel(f"hash-{by}")
    publish(server, token, made)
    for digest, works in (("0" * 64, False), (made.sha256, True)):
        (home.work / "requirements.txt").write_text(f"{made.project}==1.0.0 --hash=sha256:{digest}\n")
        done = install(tools, home, url, "--require-hashes", "-r", "requirements.txt")
        assert (done.returncode == 0) is works, done.stderr
        assert bool(installed(home)) is works


@INSTALLERS
def test_an_sdist_is_built_and_installed(
    tools: Tools, home: Home, server: Server, token: str, url: str, install: Install, by: str
) -> None:
    publish(server, token, buildable(f"source-{by}"))
    done = install(tools, home, url, f"source-{by}")
    assert done.returncode == 0, done.stderr
    module = home.work / "site" / f"source-{by}.py".replace("-", "_").replace("_py", ".py")
    assert module.read_text() == "built = True\n"


@INSTALLERS
def test_a_new_release_is_seen_with_a_warm_cache_and_with_a_cold_one(
    tools: Tools, home: Home, server: Server, token: str, url: str, install: Install, by: str
) -> None:
    name = f"fresh-{by}"
    folder = name.replace("-", "_")
    for version, cold in (("1.0", False), ("1.1", False), ("1.2", True)):
        publish(server, token, wheel(name, version), wheel(f"{name}-{version.replace('.', '-')}"))
        if cold:
            shutil.rmtree(home.work / "cache")
        # also a project that was asked for before there was one
        done = install(tools, home, url, name, f"{name}-{version.replace('.', '-')}")
        assert done.returncode == 0, done.stderr
        assert f"{folder}-{version}" in installed(home)
        absent = f"{name}-1-{int(version[-1]) + 1}"
        assert install(tools, home, url, absent).returncode != 0


@INSTALLERS
def test_a_python_that_is_too_old_gets_the_release_before(
    tools: Tools, home: Home, server: Server, token: str, url: str, install: Install, by: str
) -> None:
    name = f"python-{by}"
    publish(server, token, wheel(name, "1.0", requires_python=">=3.8"), wheel(name, "2.0", requires_python=">=4"))
    done = install(tools, home, url, name)
    assert done.returncode == 0, done.stderr
    assert installed(home) == {f"{name.replace('-', '_')}-1.0"}


@INSTALLERS
def test_a_yanked_release_is_installed_only_when_it_is_asked_for_and_says_why(
    tools: Tools, home: Home, server: Server, certificate: Path, token: str, url: str, install: Install, by: str
) -> None:
    name = f"yank-{by}"
    publish(server, token, wheel(name, "1.0"), wheel(name, "2.0"))
    client = IndexClient(server.url, token, ca_file=str(certificate))

    def gets(what: str) -> str:
        shutil.rmtree(home.work / "site", ignore_errors=True)
        done = install(tools, home, url, what)
        assert done.returncode == 0, done.stderr
        (found,) = installed(home)
        return f"{found.rpartition('-')[2]} {'with its reason' if 'loses data' in done.stderr else ''}".strip()

    assert gets(name) == "2.0"
    client.yank(name, "2", "loses data")
    assert gets(name) == "1.0", "with the cache warm"
    assert gets(f"{name}==2.0") == "2.0 with its reason"
    client.unyank(name, "2.0")
    assert gets(name) == "2.0"


@INSTALLERS
def test_a_project_in_quarantine_offers_nothing_until_it_leaves_it(
    tools: Tools, home: Home, server: Server, certificate: Path, token: str, url: str, install: Install, by: str
) -> None:
    name = f"quarantine-{by}"
    publish(server, token, wheel(name))
    client = IndexClient(server.url, token, ca_file=str(certificate))
    client.set_status(name, "quarantined", "being looked at")
    assert install(tools, home, url, name).returncode != 0
    client.set_status(name, "active", "")
    done = install(tools, home, url, name)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("requirement", ["pip==22.3", "pip"])
def test_pip_lists_versions_and_searches(
    tools: Tools, home: Home, server: Server, token: str, url: str, requirement: str
) -> None:
    name = f"searched-{'old' if '=' in requirement else 'new'}"
    publish(server, token, wheel(name, "1.0"), wheel(name, "1.1"))
    python = tools.bin(requirement) / "python"
    pip = (python, "-P", "-m", "pip", "--no-input")
    assert "Available versions: 1.1, 1.0" in home.done(*pip, "index", "versions", name, "--index-url", url)
    # XML-RPC, which stock pypiserver answers too
    assert f"{name} (1.1)" in home.done(*pip, "search", "--index", url.replace("/simple/", "/RPC2"), name)


@pytest.mark.parametrize(
    ("install", "option", "by"),
    [(by_uv, "--exclude-newer", "uv"), (by_pip("pip>=26"), "--uploaded-prior-to", "pip")],
    ids=["uv", "pip-newest"],
)
def test_what_was_published_later_can_be_left_out(
    tools: Tools, home: Home, server: Server, token: str, url: str, install: Install, option: str, by: str
) -> None:
    name = f"later-{by}"
    publish(server, token, wheel(name, "1.0"), wheel(name, "2.0"))
    page = server.ask("GET", f"/simple/{name}/", token, headers=JSON).json()
    uploaded = {each["filename"].split("-")[1]: each["upload-time"] for each in page["files"]}
    for before, gets in ((uploaded["2.0"], "1.0"), ("2999-01-01T00:00:00Z", "2.0")):
        done = install(tools, home, url, name, option, before)
        assert done.returncode == 0, done.stderr
        assert f"{name.replace('-', '_')}-{gets}" in installed(home)
    shutil.rmtree(home.work / "site")
    assert install(tools, home, url, name, option, uploaded["1.0"]).returncode != 0


# poetry and pdm, which work on a project, with what `index.client` wrote and nothing else


@pytest.fixture
def configured(home: Home, server: Server, certificate: Path, token: str) -> Callable[[str], dict[str, str]]:
    """Write a client's configuration; the variables that it wants besides."""

    def configure(client: str) -> dict[str, str]:
        (home.home / "pinwheel.toml").write_text(f'[index]\nurl = "{server.url}"\nca_file = "{certificate}"\n')
        argv = ("index.client", client, "--write", ".", "--json")
        done = run_pinwheel(*argv, cwd=home.home, PINWHEEL_TOKEN=token)
        assert done.returncode == 0, done.stderr
        environment: dict[str, str] = json.loads(done.stdout)["environment"]
        return environment

    return configure


def project(home: Home, *requires: str) -> None:
    (home.work / "pyproject.toml").write_text(
        '[project]\nname = "application"\nversion = "1.0.0"\nrequires-python = ">=3.11,<4"\n'
        f"dependencies = {json.dumps(requires)}\n"
        "[tool.poetry]\npackage-mode = false\n[tool.pdm]\ndistribution = false\n"
    )


def in_project(home: Home) -> set[str]:
    return {info.name.removesuffix(".dist-info") for info in home.work.glob(".venv/lib/*/site-packages/*.dist-info")}


@pytest.mark.parametrize("by", ["poetry", "pdm", "uv"])
def test_a_project_is_locked_with_hashes_installed_and_brought_up_to_date(
    tools: Tools, home: Home, server: Server, token: str, configured: Callable[[str], dict[str, str]], by: str
) -> None:
    home = replace(home, variables={})  # whom to trust stands in what was written
    name, lock = f"locked-{by}", home.work / f"{by}.lock"
    first, second = wheel(name, "1.0", requires=[f"{name}-more; extra == 'fast'"]), wheel(name, "1.1")
    source = buildable(f"{name}-source")
    publish(server, token, first, wheel(f"{name}-more"), source)
    project(home, f"{name}[fast]>=1", source.project)
    program = tools.bin({"poetry": "poetry>=2", "pdm": "pdm[locked]>=2", "uv": "uv"}[by]) / by
    known = {"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_NO_INTERACTION": "1", "UV_PYTHON": sys.executable}
    known |= configured(by)
    if by == "poetry":
        source_of = ("source", "add", "--priority", "primary", "pinwheel", f"{server.url}simple/")
        home.done(program, *source_of, env=known)
    home.done(program, "lock", env=known)
    assert first.sha256 in lock.read_text()
    assert source.sha256 in lock.read_text()
    assert token not in lock.read_text()

    def sync() -> Done:
        return home.run(program, "sync", *(["--frozen"] if by == "uv" else []), env=known)

    done = sync()
    assert done.returncode == 0, done.stdout + done.stderr
    under = name.replace("-", "_")
    assert {f"{under}-1.0", f"{under}_more-1.0.0", f"{under}_source-1.0.0"} <= in_project(home)

    publish(server, token, second)
    home.done(program, *(("sync", "--upgrade") if by == "uv" else ("update",)), env=known)
    assert f"{under}-1.1" in in_project(home), "with the caches warm"

    lock.write_text(lock.read_text().replace(second.sha256, "0" * 64))
    shutil.rmtree(home.work / ".venv")
    shutil.rmtree(home.home / ".cache")
    assert sync().returncode != 0, "other bytes than were locked"
    assert f"{under}-1.1" not in in_project(home)
