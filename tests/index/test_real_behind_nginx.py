"""Behind nginx, where TLS ends, the same programs publish, install and read; they install and read also while the
index is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.index.foreign import Home, Tools
from tests.index.making import sdist, wheel
from tests.index.test_nginx import Front, fronted
from tests.index.test_real_installers import INSTALLERS, Install, installed
from tests.index.test_real_readers import PYPI_SIMPLE
from tests.index.test_real_uploads import PUBLISHERS, Publish, Target, written

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Front]:
    with fronted(tmp_path_factory.mktemp("front"), certificate=certificate) as found:
        yield found


@pytest.fixture
def home(home: Home, certificate: Path) -> Home:
    names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return replace(home, variables=dict.fromkeys(names, str(certificate)))


@pytest.fixture(scope="module")
def token(front: Front) -> str:
    return front.server.token("everything", "read", "upload", "admin")


@PUBLISHERS
def test_both_files_arrive_and_the_same_again_is_already_there(
    tools: Tools, home: Home, front: Front, token: str, publish: Publish, certificate: Path
) -> None:
    made = [sdist(f"through-{publish.__name__}"), wheel(f"through-{publish.__name__}")]
    for _ in range(2):
        done = publish(tools, home, Target(f"{front.url}legacy/", token), written(home, *made))
        assert done.returncode == 0, done.stdout + done.stderr
    files = IndexClient(front.url, token, ca_file=str(certificate)).own_files(made[0].project)
    assert {file.sha256 for file in files} == {each.sha256 for each in made}


@INSTALLERS
def test_what_is_published_and_yanked_shows_with_a_warm_cache(
    tools: Tools, home: Home, front: Front, token: str, install: Install, by: str, certificate: Path
) -> None:
    name = f"front-{by}"
    client = IndexClient(front.url, token, ca_file=str(certificate))
    for version, yanked, gets in (("1.0", "", "1.0"), ("2.0", "", "2.0"), ("3.0", "2.0", "3.0"), ("4.0", "4.0", "3.0")):
        assert front.upload(wheel(name, version), token).status == 200
        if yanked:
            client.yank(name, yanked, "it was a mistake")
        done = install(tools, home, client.credentialed_simple_url(), name)
        assert done.returncode == 0, done.stderr
        assert f"{name.replace('-', '_')}-{gets}" in installed(home)


def test_everything_is_read_and_installed_while_the_index_is_stopped(tools: Tools, home: Home, tmp_path: Path) -> None:
    (tmp_path / "front").mkdir()
    with fronted(tmp_path / "front") as front:
        token = front.server.token("t", "read", "upload", "admin")
        made = [wheel("stopped", requires_python=">=3.8"), sdist("stopped", "0.9")]
        for each in made:
            assert front.upload(each, token).status == 200
        client = IndexClient(front.url, token)
        client.yank("stopped", "0.9", "too <old>")
        client.set_status("stopped", "deprecated", 'use "another"')
        assert front.ask("GET", "/simple/stopped/", token).status == 200  # the verdict that counts from now on
        assert front.server.stop() == 0
        python = tools.bin("pypi-simple", "requests") / "python"
        # whoever insists on a form that hardly anybody asks for needs the index itself
        for accept in ("ACCEPT_ANY", "ACCEPT_JSON_PREFERRED", "ACCEPT_JSON_ONLY"):
            argv = ("-c", PYPI_SIMPLE, f"{front.url}simple/", "stopped", accept)
            found = json.loads(home.done(python, *argv, env={"TOKEN": token}))
            assert (found["listed"], found["status"]) == (True, ["deprecated", 'use "another"'])
            assert {name: (each["sha256"], each["yanked"]) for name, each in found["files"].items()} == {
                made[0].filename: (made[0].sha256, None),
                made[1].filename: (made[1].sha256, "too <old>"),
            }
        for mark in INSTALLERS.args[1]:
            install, by = mark
            done = install(tools, home, client.credentialed_simple_url(), "stopped")
            assert done.returncode == 0, f"{by}: {done.stderr}"


def test_addresses_name_the_https_of_who_asked(front: Front, token: str) -> None:
    assert front.upload(wheel("named"), token).status == 200
    (files,) = front.ask("GET", "/named/json", token).json()["releases"].values()
    assert files[0]["url"].startswith(front.url)
