"""Clients that nobody here wrote work with what `index.client` wrote into an empty home, and with nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.index import foreign
from tests.index.foreign import Home, Tools
from tests.index.making import sdist, wheel
from tests.index.running import JSON, Server, names, run_pinwheel, running

Configure = Callable[..., Any]

TWINE = (sys.executable, "-P", "-m", "twine")
PIP = (sys.executable, "-P", "-m", "pip")
PUBLISH = ("publish", "--trusted-publishing", "never", "--index", "pinwheel")


@pytest.fixture
def configure(home: Home, server: Server, token: str) -> Configure:
    """Run `index.client … --write` for the shared server; what it printed as JSON."""

    def run(*arguments: str, url: str = server.url, token: str = token) -> Any:
        known = {"PINWHEEL_INDEX_URL": url, "PINWHEEL_TOKEN": token, "HOME": str(home.home)}
        argv = ("index.client", *arguments, "--write", "--json")
        done = run_pinwheel(*argv, cwd=home.work, XDG_CONFIG_HOME="", NETRC="", **known)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def put(home: Home, *made: Any) -> list[Path]:
    folder = home.work / "dist"
    folder.mkdir(exist_ok=True)
    for each in made:
        (folder / each.filename).write_bytes(each.content)
    return [folder / each.filename for each in made]


def others(home: Home) -> None:
    """What an administrator added for everybody: port 9 would refuse, and pip would say so."""
    (home.home / "machine/pip").mkdir(parents=True)
    added = "extra-index-url = http://127.0.0.1:9/simple/\nfind-links = http://127.0.0.1:9/wheels/\n"
    (home.home / "machine/pip/pip.conf").write_text(f"[global]\n{added}")


def test_pip_installs_and_asks_no_other_index(server: Server, token: str, home: Home, configure: Configure) -> None:
    server.upload(wheel("written-pip"), token)
    configure("pip")
    others(home)
    done = home.run(*PIP, "download", "--no-deps", "--no-input", "written-pip")
    assert done.returncode == 0, done.stderr
    assert ":9/" not in done.stdout + done.stderr
    assert token not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("requirement", ["pip==22.3", "pip"])
def test_old_and_new_pip_do_too(
    tools: Tools, server: Server, token: str, home: Home, configure: Configure, requirement: str
) -> None:
    server.upload(wheel("written-pips"), token)
    configure("pip")
    others(home)
    python = tools.bin(requirement) / "python"
    done = home.run(python, "-P", "-m", "pip", "download", "--no-deps", "--no-input", "written-pips")
    assert done.returncode == 0, done.stderr
    assert ":9/" not in done.stdout + done.stderr


def test_uv_installs_and_publishes(home: Home, configure: Configure) -> None:
    configure("uv")
    (file,) = put(home, wheel("written-uv"))
    for told in ("Uploading", "already exists"):
        done = home.run(foreign.uv(), *PUBLISH, file)
        assert (done.returncode, told in done.stderr) == (0, True), done.stderr
    home.done(foreign.uv(), "pip", "install", "--python", sys.executable, "--target", "site", "written-uv")
    assert (home.work / "site/written_uv.py").exists()


def test_uv_takes_the_credential_from_the_environment(
    server: Server, token: str, home: Home, configure: Configure
) -> None:
    server.upload(wheel("written-env"), token)
    named = configure("uv", "--no-credential")["environment"]
    filled = {name: value.replace("$PINWHEEL_TOKEN", token) for name, value in named.items()}
    argv = (foreign.uv(), "pip", "install", "--python", sys.executable, "--target", "site", "written-env")
    assert home.run(*argv).returncode != 0
    home.done(*argv, env=filled)
    (file,) = put(home, wheel("written-env", "1.1"))
    home.done(foreign.uv(), *PUBLISH, file, env=filled)


def test_uv_can_keep_the_token_itself(server: Server, token: str, home: Home, configure: Configure) -> None:
    server.upload(wheel("written-kept"), token)
    (told,) = [each for each in configure("uv", "--no-credential")["notes"] if "auth login" in each]
    command = told.split("`")[1].split()
    home.done(foreign.uv(), *command[1:], told=token)
    home.done(foreign.uv(), "pip", "install", "--python", sys.executable, "--target", "site", "written-kept")


def test_pip_takes_the_credential_from_the_environment(
    server: Server, token: str, home: Home, configure: Configure
) -> None:
    server.upload(wheel("written-pip-env"), token)
    named = configure("pip", "--no-credential")["environment"]
    filled = {name: value.replace("$PINWHEEL_TOKEN", token) for name, value in named.items()}
    others(home)
    done = home.run(*PIP, "download", "--no-deps", "--no-input", "written-pip-env", env=filled)
    assert done.returncode == 0, done.stderr
    assert ":9/" not in done.stdout + done.stderr
    assert token not in done.stdout + done.stderr


def test_twine_publishes(server: Server, token: str, home: Home, configure: Configure) -> None:
    configure("twine")
    (file,) = put(home, sdist("written-twine"))
    home.done(*TWINE, "upload", "--non-interactive", "-r", "pinwheel", file)
    assert names(server.ask("GET", "/simple/written-twine/", token, headers=JSON)) == [file.name]


@pytest.mark.slow
def test_a_channel_shows_what_was_promoted_to_it(home: Home, tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text("[index.channels.prod]\n")
    with running(tmp_path / "data", cwd=tmp_path) as server:
        token = server.token("all", "admin")
        (tmp_path / "pinwheel.toml").write_text(f'[index]\nurl = "{server.url}"\n[index.channels.prod]\n')
        for version in ("1.0", "2.0"):
            assert server.upload(wheel("channelled", version), token).status == 200
        known = {"PINWHEEL_TOKEN": token, "HOME": str(home.home)}
        for argv in (
            ("index.promote", "channelled==1.0", "--to", "prod"),
            ("index.client", "uv", "--channel", "prod", "--write", str(home.home)),
        ):
            done = run_pinwheel(*argv, cwd=tmp_path, **known)
            assert done.returncode == 0, done.stderr
        install = ("pip", "install", "--python", sys.executable, "--target", "site", "--upgrade", "channelled")
        home.done(foreign.uv(), *install)
        assert (home.work / "site/channelled-1.0.dist-info").exists()
        run_pinwheel("index.promote", "channelled==2.0", "--to", "prod", cwd=tmp_path, **known)
        home.done(foreign.uv(), *install)
        assert (home.work / "site/channelled-2.0.dist-info").exists(), "with a warm cache"


PROJECT = """
[project]
name = "{name}"
version = "1.0.0"
description = "made for a test"
requires-python = ">=3.11"
[build-system]
requires = ["{requires}"]
build-backend = "{backend}"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "requirement", "argv", "requires", "backend"),
    [
        ("twine", "twine>=7", ("twine", "upload", "--non-interactive", "-r", "pinwheel", "{wheel}"), "hatchling", "-"),
        ("twine", "flit", ("flit", "publish", "--repository", "pinwheel"), "flit_core", "flit_core.buildapi"),
        ("twine", "hatch", ("hatch", "publish", "--no-prompt", "-r", "{upload}"), "hatchling", "hatchling.build"),
        ("poetry", "poetry>=2", ("poetry", "publish", "-r", "pinwheel"), "poetry-core", "poetry.core.masonry.api"),
        ("pdm", "pdm[locked]>=2", ("pdm", "publish", "--no-build", "-r", "pinwheel"), "pdm-backend", "pdm.backend"),
    ],
    ids=["twine", "flit", "hatch", "poetry", "pdm"],
)
@pytest.mark.parametrize("credential", ["file", "environment", "file, over https"])
def test_the_other_programs_publish(
    tools: Tools,
    server: Server,
    token: str,
    home: Home,
    configure: Configure,
    client: str,
    requirement: str,
    argv: tuple[str, ...],
    requires: str,
    backend: str,
    credential: str,
    secure_server: Server,
    certificate: Path,
) -> None:
    name = f"written-{argv[0]}-{credential.split()[-1]}"
    if credential == "file, over https":
        server, token = secure_server, secure_server.token(name, "read", "upload")
        (home.work / "pinwheel.toml").write_text(f'[index]\nurl = "{server.url}"\nca_file = "{certificate}"\n')
    flags = ("--no-credential",) if credential == "environment" else ()
    named = configure(client, *flags, url=server.url, token=token)["environment"]
    login = {variable: value.replace("$PINWHEEL_TOKEN", token) for variable, value in named.items()}
    (home.work / "pyproject.toml").write_text(PROJECT.format(name=name, requires=requires, backend=backend))
    (home.work / f"{name.replace('-', '_')}.py").write_text('"""made for a test"""\n')
    (file,) = put(home, wheel(name))
    program, *words = argv
    filled = [word.format(upload=f"{server.url}legacy/", wheel=file) for word in words]
    done = home.run(tools.bin(requirement) / program, *filled, env=login | {"PDM_USE_VENV": "false"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert token not in done.stdout + done.stderr
    assert f"{name.replace('-', '_')}-1.0.0" in "".join(
        names(server.ask("GET", f"/simple/{name}/", token, headers=JSON))
    )
