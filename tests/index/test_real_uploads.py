"""Six programs publish to the index, whichever address they were given; what is refused they tell as far as they do."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from tests.index.foreign import Home, Tools
from tests.index.making import Made, sdist, wheel
from tests.index.running import JSON, Server, names

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Target:
    """Where to publish, and as whom."""

    url: str
    token: str


def twine(tools: Tools, home: Home, to: Target, files: list[Path]) -> Done:
    flags = ("--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", to.url)
    login = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": to.token}
    return home.run(tools.bin("twine>=7") / "twine", "upload", *flags, *files, env=login)


def uv(tools: Tools, home: Home, to: Target, files: list[Path]) -> Done:
    argv = ("publish", "--trusted-publishing", "never", "--publish-url", to.url)
    return home.run(tools.bin("uv") / "uv", *argv, *files, env={"UV_PUBLISH_TOKEN": to.token})


def hatch(tools: Tools, home: Home, to: Target, files: list[Path]) -> Done:
    login = {"HATCH_INDEX_USER": "__token__", "HATCH_INDEX_AUTH": to.token}
    return home.run(tools.bin("hatch") / "hatch", "publish", "--no-prompt", "--repo", to.url, *files, env=login)


def poetry(tools: Tools, home: Home, to: Target, files: list[Path]) -> Done:
    project_around(home, files, "poetry-core", "poetry.core.masonry.api")
    prefix = "POETRY_HTTP_BASIC_OURS"
    login = {f"{prefix}_USERNAME": "__token__", f"{prefix}_PASSWORD": to.token, "POETRY_REPOSITORIES_OURS_URL": to.url}
    return home.run(tools.bin("poetry>=2") / "poetry", "publish", "--no-interaction", "--repository", "ours", env=login)


def pdm(tools: Tools, home: Home, to: Target, files: list[Path]) -> Done:
    project_around(home, files, "pdm-backend", "pdm.backend")
    login = {"PDM_PUBLISH_REPO": to.url, "PDM_PUBLISH_USERNAME": "__token__", "PDM_PUBLISH_PASSWORD": to.token}
    return home.run(tools.bin("pdm[locked]>=2") / "pdm", "publish", "--no-build", env=login | {"PDM_USE_VENV": "false"})


def project_around(home: Home, files: list[Path], requires: str, backend: str) -> None:
    """poetry and pdm publish what lies in the `dist` of a project."""
    project, version = files[0].name.replace("_", "-").split("-1.0.0")[0], "1.0.0"
    (home.work / "pyproject.toml").write_text(
        f'[project]\nname = "{project}"\nversion = "{version}"\ndescription = ""\nrequires-python = ">=3.11"\n'
        f'[build-system]\nrequires = ["{requires}"]\nbuild-backend = "{backend}"\n'
    )


PUBLISHERS = pytest.mark.parametrize("publish", [twine, uv, hatch, poetry, pdm], ids=lambda each: each.__name__)
Publish = Callable[[Tools, Home, Target, list[Path]], Done]


def written(home: Home, *made: Made) -> list[Path]:
    folder = home.work / "dist"
    folder.mkdir(exist_ok=True)
    for each in made:
        (folder / each.filename).write_bytes(each.content)
    return [folder / each.filename for each in made]


@PUBLISHERS
@pytest.mark.parametrize("path", ["", "legacy/", "simple/"])
def test_both_files_arrive_and_the_same_again_is_already_there(
    tools: Tools, home: Home, server: Server, token: str, publish: Publish, path: str
) -> None:
    name = f"by-{publish.__name__}-{path.strip('/') or 'root'}"
    made = [sdist(name), wheel(name)]
    files = written(home, *made)
    for _ in range(2):
        done = publish(tools, home, Target(server.url + path, token), files)
        assert done.returncode == 0, done.stdout + done.stderr
        assert token not in done.stdout + done.stderr
    page = server.ask("GET", f"/simple/{name}/", token, headers=JSON).json()
    assert {each["filename"]: each["hashes"]["sha256"] for each in page["files"]} == {
        each.filename: each.sha256 for each in made
    }


@pytest.mark.parametrize("path", ["", "legacy/", "simple/"])
def test_flit_publishes_what_it_builds(tools: Tools, home: Home, server: Server, token: str, path: str) -> None:
    name = f"by-flit-{path.strip('/') or 'root'}"
    (home.work / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
        f'[project]\nname = "{name}"\nversion = "1.0.0"\ndescription = "made by flit"\n'
    )
    (home.work / f"{name.replace('-', '_')}.py").write_text('"""made by flit"""\n')
    login = {"FLIT_INDEX_URL": server.url + path, "FLIT_USERNAME": "__token__", "FLIT_PASSWORD": token}
    for _ in range(2):
        done = home.run(tools.bin("flit") / "flit", "publish", env=login | {"SOURCE_DATE_EPOCH": "1700000000"})
        assert done.returncode == 0, done.stderr
        assert token not in done.stdout + done.stderr
    assert len(names(server.ask("GET", f"/simple/{name}/", token, headers=JSON))) == 2


@PUBLISHERS
def test_a_refusal_ends_in_an_error_and_tells_why_as_far_as_the_program_does(
    tools: Tools, home: Home, server: Server, token: str, publish: Publish
) -> None:
    first, second = wheel(f"again-{publish.__name__}"), wheel(f"again-{publish.__name__}", code="other = True")
    assert publish(tools, home, Target(server.url, token), written(home, first)).returncode == 0
    done = publish(tools, home, Target(server.url, token), written(home, second))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "409" in said
    if publish in (twine, uv, poetry):  # hatch and pdm show the status and never the body
        assert first.sha256 in said
        assert second.sha256 in said


@pytest.mark.parametrize("publish", [twine, uv, poetry], ids=lambda each: each.__name__)
def test_all_reasons_come_in_one_answer(tools: Tools, home: Home, server: Server, token: str, publish: Publish) -> None:
    """The program reads its form out of the very file, so only the archive itself can be wrong in several ways."""
    made = spoiled(wheel(f"spoiled-{publish.__name__}"))
    done = publish(tools, home, Target(server.url, token), written(home, made))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for reason in ("../outside", "/etc/absolute"):
        assert reason in said, said


def spoiled(made: Made) -> Made:
    """The same with two members that lead out of it."""
    content = BytesIO(made.content)
    with zipfile.ZipFile(content, "a") as archive:
        for path in ("../outside", "/etc/absolute"):
            archive.writestr(zipfile.ZipInfo(path), b"x")
    return Made(made.project, made.version, made.filename, content.getvalue())


@PUBLISHERS
def test_an_archived_project_takes_nothing_new(
    tools: Tools, home: Home, server: Server, token: str, publish: Publish
) -> None:
    name = f"archived-{publish.__name__}"
    server.upload(wheel(name, "0.9"), token)
    IndexClient(server.url, server.token(name, "admin")).set_status(name, "archived", "no longer developed")
    done = publish(tools, home, Target(server.url, token), written(home, wheel(name)))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    if publish in (twine, uv, poetry):
        assert "archived" in said
        assert "no longer developed" in said


@PUBLISHERS
def test_a_wrong_credential_publishes_nothing(
    tools: Tools, home: Home, server: Server, token: str, publish: Publish
) -> None:
    made = wheel(f"stranger-{publish.__name__}")
    done = publish(tools, home, Target(server.url, "pw_wrong"), written(home, made))
    assert done.returncode != 0
    assert server.ask("GET", f"/simple/{made.project}/", token).status == 404


def test_uv_checks_what_is_there_before_it_uploads(tools: Tools, home: Home, server: Server, token: str) -> None:
    first, second = wheel("checked"), wheel("checked", code="other = True")
    argv = ("publish", "--trusted-publishing", "never", "--publish-url", f"{server.url}legacy/")
    check = ("--check-url", f"{server.url}simple/")
    login = {"UV_PUBLISH_USERNAME": "__token__", "UV_PUBLISH_PASSWORD": token}
    (home.home / ".netrc").write_text(f"machine 127.0.0.1 login __token__ password {token}\n")
    program = tools.bin("uv") / "uv"
    for once, told in ((True, "Uploading"), (False, "already exists")):
        done = home.run(program, *argv, *check, *written(home, first), env=login)
        assert done.returncode == 0, done.stderr
        assert told in done.stderr
        assert ("Uploading" in done.stderr) is once
    done = home.run(program, *argv, *check, *written(home, second), env=login)
    assert (done.returncode != 0, "Uploading" in done.stderr) == (True, False), done.stderr


@pytest.mark.parametrize("chunked", [False, True], ids=["measured", "chunked"])
def test_curl_uploads_with_and_without_a_length(home: Home, server: Server, token: str, chunked: bool) -> None:
    """Three MiB, for which curl first asks whether they are wanted (Expect: 100-continue)."""
    curl = shutil.which("curl") or pytest.skip("curl is not installed")
    made = wheel(f"curled-{'chunked' if chunked else 'measured'}", padding=3 * 2**20)
    (file,) = written(home, made)
    (home.home / ".netrc").write_text(f"machine 127.0.0.1 login __token__ password {token}\n")
    fields = {":action": "file_upload", "name": made.project, "version": made.version}
    form = [word for key, value in fields.items() for word in ("-F", f"{key}={value}")]
    for _ in range(2):
        argv = (curl, "--silent", "--show-error", "--fail-with-body", "--netrc", *form, "-F", f"content=@{file}")
        home.done(*argv, *(("-H", "Transfer-Encoding: chunked") if chunked else ()), f"{server.url}legacy/")
    assert names(server.ask("GET", f"/simple/{made.project}/", token, headers=JSON)) == [made.filename]


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.9"])
def test_every_metadata_version_is_published(
    tools: Tools, home: Home, server: Server, token: str, version: str
) -> None:
    """By uv, which sends on what it does not know; twine stops at what it knows before anything is sent."""
    name = f"metadata-{version.replace('.', '-')}"
    made = [restated(each, version) for each in (wheel(name), sdist(name))]
    done = uv(tools, home, Target(server.url, token), written(home, *made))
    assert done.returncode == 0, done.stderr
    page = server.ask("GET", f"/simple/{name}/", token, headers=JSON).json()
    told = {each["filename"]: bool(each.get("core-metadata")) for each in page["files"]}
    # an sdist's metadata is to be trusted from 2.2 on (PEP 643)
    assert told == {made[0].filename: True, made[1].filename: version != "2.1"}


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3", "2.4", "2.5"])
def test_twine_publishes_every_metadata_version_that_it_knows(
    tools: Tools, home: Home, server: Server, token: str, version: str
) -> None:
    made = restated(wheel(f"twined-{version.replace('.', '-')}"), version)
    done = twine(tools, home, Target(server.url, token), written(home, made))
    assert done.returncode == 0, done.stdout + done.stderr


def restated(made: Made, version: str) -> Made:
    """The same distribution, its metadata saying another version of itself."""

    def changed(metadata: bytes) -> bytes:
        return re.sub(rb"Metadata-Version: [\d.]{3}", f"Metadata-Version: {version}".encode(), metadata)

    if made.filename.endswith(".tar.gz"):
        # the version is as long as the one before, so the tar needs no other header
        content = gzip.compress(changed(gzip.decompress(made.content)))
        return Made(made.project, made.version, made.filename, content)
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(made.content)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            body = old.read(info)
            new.writestr(info, changed(body) if info.filename.endswith("METADATA") else body)
    return Made(made.project, made.version, made.filename, out.getvalue())
