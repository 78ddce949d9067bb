"""The station against the real index, through the command that a user types."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.index.making import wheel
from tests.index.running import Upstream, upstream
from tests.packaging.forge import Repository, tiny_files
from tests.packaging.running import PATIENCE_S, RunningIndex, children_of, eventually, running, silent
from tests.packaging.signing import make_key, needs_ssh_keygen

from pinwheel.index.client import IndexClient
from pinwheel.packaging.publishing.upload import twine_to

MakeRepository = Callable[[str], Repository]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(index: RunningIndex) -> IndexClient:
    return IndexClient(index.url, index.token)


def outcomes(document: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    return [file["outcome"] for release in document["releases"] for file in release["files"]]


@pytest.mark.slow
def test_from_two_repositories_to_a_lock_that_installs(
    index: RunningIndex, client: IndexClient, home: Path, make_repository: MakeRepository
) -> None:
    greet, shop = make_repository("greet"), make_repository("shop")
    greet.commit(tiny_files("acme-road-greet"), "v1.0.0")
    shop.commit(tiny_files("acme-road-shop", needs=("acme-road-greet>=1", "iniconfig")), "v1.0.0")
    home.mkdir()
    (home / "pinwheel.toml").write_text(
        f'[projects.acme-road-shop]\nrepository = "{shop.address}"\n'
        f'[projects.acme-road-greet]\nrepository = "{greet.address}"\n'
    )

    assert index.run(home, "packaging.plan").returncode == 4
    first = index.document(home, "packaging.release", "--all")
    assert [release["name"] for release in first["releases"]] == ["acme-road-greet", "acme-road-shop"]
    assert outcomes(first) == ["published"] * 4
    assert outcomes(index.document(home, "packaging.release", "--all")) == ["already there"] * 4
    assert index.run(home, "packaging.plan").returncode == 0

    lock = index.document(home, "packaging.lock", "acme-road-shop==1.0.0")["lock"]
    assert lock["outcome"] == "locked"
    assert {each["name"] for each in lock["packages"]} == {"acme-road-shop", "acme-road-greet", "iniconfig"}
    assert index.document(home, "packaging.lock", "acme-road-shop==1.0.0")["lock"]["outcome"] == "already there"

    pylock = client.attachment("acme-road-shop", "1.0.0", "pylock.toml")
    requirements = client.attachment("acme-road-shop", "1.0.0", "requirements.txt")
    assert pylock is not None
    assert requirements is not None
    assert index.token.encode() not in pylock + requirements
    assert b"__token__" not in pylock + requirements
    installed(index, home, requirements)

    explained = index.document(home, "packaging.explain", "acme-road-shop==1.0.0")
    assert (explained["channels"], explained["needed_by"], explained["without"]) == (["main"], [], [])
    (user,) = index.document(home, "packaging.explain", "acme-road-greet==1.0")["needed_by"]
    assert user == {"name": "acme-road-shop", "version": "1.0.0", "requirement": "acme-road-greet>=1", "fits": True}
    assert [each["subject"][0]["name"] for each in explained["statements"]] == [
        "acme_road_shop-1.0.0-py3-none-any.whl",
        "acme_road_shop-1.0.0.tar.gz",
    ]
    told = [(event["kind"], event["commit"]) for event in client.events(subject="acme-road-shop")]
    assert told == [("published", ""), ("published", ""), ("released", shop.head), ("locked", shop.head)]


def installed(index: RunningIndex, home: Path, requirements: bytes) -> None:
    """Install a lock as a host does: wheels only, hashes required, nothing resolved."""
    from uv import find_uv_bin

    (home / "requirements.txt").write_bytes(requirements)
    environ = index.environ(home) | {
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": IndexClient(index.url, index.token).credentialed_simple_url(),
    }
    venv = home / "venv"
    options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", "requirements.txt")
    for words in (
        ("venv", "--python", sys.executable, str(venv)),
        ("pip", "install", "--python", str(venv), *options),
    ):
        subprocess.run((find_uv_bin(), *words), cwd=home, env=environ, check=True, capture_output=True)
    subprocess.run((venv / "bin/python", "-I", "-c", "import acme_road_shop, acme_road_greet, iniconfig"), check=True)


@pytest.mark.slow
def test_p3_a_version_that_is_there_with_other_bytes_stops_everything(
    index: RunningIndex, client: IndexClient, home: Path, make_repository: MakeRepository
) -> None:
    remote = make_repository("twice")
    before = remote.commit(tiny_files("acme-twice"))
    release = ("packaging.release", "--repo", remote.address, "--ref")
    first = index.document(home, *release, before)["releases"][0]["files"]
    after = remote.commit(tiny_files("acme-twice") | {"acme_twice/__init__.py": "changed = True"})
    done = index.run(home, *release, after, "--json")
    assert done.returncode == 1
    where = json.loads(done.stdout)["failures"][0]["where"]
    assert re.findall(r"commit ([0-9a-f]{40})", where) == [before, after]
    theirs, ours = re.findall(r"sha256 ([0-9a-f]{64})", where)
    assert theirs in {file["sha256"] for file in first}
    assert ours not in {file["sha256"] for file in first}
    assert {(each.filename, each.sha256) for each in client.own_files("acme-twice")} == {
        (file["filename"], file["sha256"]) for file in first
    }


@pytest.mark.slow
@needs_ssh_keygen
def test_a_signed_release_is_verified_from_the_index_and_from_a_folder(
    index: RunningIndex, client: IndexClient, home: Path, make_repository: MakeRepository
) -> None:
    remote = make_repository("signed")
    remote.commit(tiny_files("acme-signed"), "v1.0.0")
    home.mkdir()
    key, stranger = make_key(home / "key"), make_key(home / "stranger")
    (home / "allowed").write_text(f"ci@acme.example {key.public}\n")
    (home / "others").write_text(f"ci@acme.example {stranger.public}\n")
    (home / "pinwheel.toml").write_text('[packaging]\nsigning_key = "key"\nallowed_signers = "allowed"\n')
    pin, wheel = "acme-signed==1.0.0", "dist/acme_signed-1.0.0-py3-none-any.whl"

    assert outcomes(index.document(home, "packaging.release", "--repo", remote.address)) == ["published"] * 2
    verified = index.document(home, "packaging.verify", pin)
    assert verified["verified"]
    assert {(each["signer"], each["commit"], each["tag"], each["time_says"]) for each in verified["files"]} == {
        ("ci@acme.example", remote.head, "v1.0.0", "index")
    }
    assert "signed by: ci@acme.example (SHA256:" in index.run(home, "packaging.explain", pin).stdout
    refused = index.run(home, "packaging.verify", pin, "--allowed-signers", "others")
    assert (refused.returncode, "signed by an unknown key" in refused.stderr) == (1, True)
    assert (index.token in refused.stderr, "Traceback" in refused.stderr) == (False, False)

    away = {"PINWHEEL_INDEX_URL": "http://127.0.0.1:9/"}
    assert index.run(home, "packaging.build", "--repo", remote.address).returncode == 0
    good = index.run(home, "packaging.verify", wheel, **away)
    assert (good.returncode, "as the statement says" in good.stdout) == (0, True), good.stderr
    assert index.run(home, "packaging.explain", wheel, **away).returncode == 0
    with (home / wheel).open("ab") as file:
        file.write(b"more")
    for task in (("packaging.verify", wheel), ("packaging.publish", "--file", wheel)):
        tampered = index.run(home, *task)
        assert (tampered.returncode, "its statement is about" in tampered.stderr) == (1, True), tampered.stderr

    unfit = index.run(home, "packaging.release", "--repo", remote.address, PINWHEEL_SIGNING_KEY="gone")
    assert unfit.returncode == 0, "there is nothing to sign"
    remote.commit(tiny_files("acme-signed", "1.1.0"), "v1.1.0")
    unfit = index.run(home, "packaging.release", "--repo", remote.address, PINWHEEL_SIGNING_KEY="gone")
    assert (unfit.returncode, "cannot be signed" in unfit.stderr, "building" in unfit.stderr) == (1, True, False)
    (home / "pinwheel.toml").unlink()
    unsigned = index.run(home, "packaging.release", "--repo", remote.address)
    assert "not signed: packaging.signing_key names no key" in unsigned.stderr
    assert "signed by: nobody" in index.run(home, "packaging.explain", "acme-signed==1.1.0").stdout
    assert index.run(home, "packaging.verify", "acme-signed==1.1.0").returncode == 0
    done = index.run(home, "packaging.verify", "acme-signed==1.1.0", "--allowed-signers", "allowed")
    assert (done.returncode, "nobody has signed" in done.stderr) == (1, True)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[RunningIndex, Upstream]]:
    """An index that keeps no name private by a glob, and the upstream that hears what it asks for."""
    (tmp_path / "watched").mkdir()
    with upstream() as listening:
        running = RunningIndex(tmp_path / "watched", listening.url, "nothing-*")
        try:
            running.start()
            yield running, listening
        finally:
            running.stop()


@pytest.mark.slow
def test_no_upstream_hears_the_name_of_what_is_ours(
    watched: tuple[RunningIndex, Upstream], home: Path, make_repository: MakeRepository
) -> None:
    """Neither before the first release, nor in between, nor when somebody asks for what never was."""
    index, listening = watched
    remote = make_repository("sauce")
    remote.commit(tiny_files("secret-sauce"), "v1.0.0")
    release = ("packaging.release", "--repo", remote.address)
    pin = "secret-sauce==1.0.0"

    for task in ("packaging.lock", "packaging.explain"):
        assert index.run(home, task, pin).returncode == 1
    assert index.run(home, "packaging.plan", "--repo", remote.address).returncode == 4
    built = index.run(home, "packaging.build", "--repo", remote.address, "--ref", "main")
    assert built.returncode == 0, built.stderr
    assert outcomes(index.document(home, *release)) == ["published"] * 2
    assert outcomes(index.document(home, *release)) == ["already there"] * 2
    index.document(home, "packaging.publish", "--file", "dist/secret_sauce-1.0.0-py3-none-any.whl")
    assert index.document(home, "packaging.lock", pin)["lock"]["outcome"] == "locked"
    assert len(index.document(home, "packaging.explain", pin)["statements"]) == 2
    assert listening.requests == []

    assert IndexClient(index.url, index.token).files("third-party") == ()
    assert listening.requests == ["/simple/third-party/"], "it does listen"


@needs_ssh_keygen
@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_p7_two_releases_of_one_version_at_once_both_end_well(
    machines: int, index: RunningIndex, client: IndexClient, home: Path, make_repository: MakeRepository
) -> None:
    name = f"acme-race-{machines}"
    remote = make_repository(name)
    remote.commit(tiny_files(name), "v1.0.0")
    homes = [home / str(count % machines) for count in range(2)]
    home.mkdir()
    key = make_key(home / "key")
    (home / "allowed").write_text(f"ci {key.public}\n")
    words = ("packaging.release", "--repo", remote.address, "--json")
    children = [index.spawn(each, *words, PINWHEEL_SIGNING_KEY=str(key.path)) for each in homes]
    ends = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], ends
    assert len(client.own_files(name)) == 2
    said = [out.count("already there") for out, _err in ends]
    assert sum(said) == 2, "of each file one brought it"
    if machines == 1:
        assert sorted(said) == [0, 2]
    kinds = [event["kind"] for event in client.events(subject=name)]
    assert sorted(kinds) == ["published", "published", "released"]
    proven = index.run(home, "packaging.verify", f"{name}==1.0.0", "--allowed-signers", "allowed")
    assert proven.returncode == 0, "each file has a statement, and that statement's signature"


@pytest.mark.slow
def test_the_index_tells_twine_whether_it_had_the_file(index: RunningIndex, tmp_path: Path) -> None:
    made = wheel("acme-known")
    path = tmp_path / made.filename
    path.write_bytes(made.content)
    upload = twine_to(index.url, index.token)
    assert [(each.status, each.known) for each in (upload(path), upload(path))] == [(200, False), (200, True)]


@pytest.mark.slow
def test_a_built_file_is_checked_and_published_on_its_own(
    index: RunningIndex, home: Path, make_repository: MakeRepository
) -> None:
    remote = make_repository("hand")
    remote.commit(tiny_files("acme-hand"))
    built = index.document(home, "packaging.build", "--repo", remote.address, "--ref", "main")
    path = "dist/acme_hand-1.0.0-py3-none-any.whl"
    assert {file["file"]: len(file["sha256"]) for file in built["files"]}[path] == 64
    assert index.document(home, "packaging.check", "--file", path) == {"findings": []}
    first = index.document(home, "packaging.publish", "--file", path)
    assert [file["outcome"] for file in first["files"]] == ["published"]
    again = index.document(home, "packaging.publish", "--file", path)
    assert [file["outcome"] for file in again["files"]] == ["already there"]
    explained = index.run(home, "packaging.explain", "acme-hand==1.0.0")
    assert f"commit: {remote.head}" in explained.stdout


@pytest.mark.slow
def test_a_token_that_may_only_read_is_said_to_lack_the_scope(
    index: RunningIndex, home: Path, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("reader")
    remote.commit(tiny_files("acme-reader"), "v1.0.0")
    reader = index.mint(f"reader-{tmp_path.name}", "read")
    words = ("packaging.release", "--repo", remote.address)
    done = index.run(home, *words, token=reader)
    assert done.returncode == 1
    assert f"the token reader-{tmp_path.name} may not upload, only read" in done.stderr
    assert "--scope read,upload" in done.stderr
    assert "building" not in done.stderr
    wrong = index.run(home, *words, token="wrong")
    assert wrong.returncode == 1
    assert "credential" in wrong.stderr
    assert "Traceback" not in done.stderr + wrong.stderr


@pytest.mark.slow
def test_mistakes_end_with_one_clear_error_and_the_right_exit_code(
    index: RunningIndex, home: Path, make_repository: MakeRepository
) -> None:
    remote = make_repository("wrong")
    remote.commit(tiny_files("acme-wrong"), "v1.0.0")
    away = {"PINWHEEL_INDEX_URL": "http://127.0.0.1:9/"}
    release = ("packaging.release", "--repo", remote.address)
    for code, words, env, said in (
        (2, ("packaging.release", "--all"), {}, "names no projects"),
        (2, (*release, "--ref", "main"), {}, "never published"),
        (1, release, away, "does not answer"),
        (1, ("packaging.lock", "acme-wrong==1.0.0"), {}, "not in the index"),
        (2, ("packaging.publish", "--file", "gone.whl"), {}, "no such file"),
        (2, (*release, "--ref", ""), {}, "--ref is empty"),
        (2, ("packaging.plan", "--repo", ""), {}, "--repo is empty"),
        (2, ("packaging.build", "--name="), {}, "--name is empty"),
        (2, (*release, "--ref=-x"), {}, "is no ref"),
        (2, ("packaging.build", "--repo", remote.address, "--python", ""), {}, "no version of Python"),
        (2, ("packaging.lock", "acme-wrong==2", "--diff", "1", "--out", "locks"), {}, "makes no documents"),
    ):
        done = index.run(home, *words, **env)
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


@pytest.mark.slow
def test_a_failed_release_prints_its_document_too(
    index: RunningIndex, home: Path, make_repository: MakeRepository
) -> None:
    remote = make_repository("unsaid")
    remote.commit(tiny_files("acme-unsaid"), "v1.0.0")
    away = {"PINWHEEL_INDEX_URL": "http://127.0.0.1:9/"}
    release = ("packaging.release", "--repo", remote.address)
    plan = ("packaging.plan", "--repo", remote.address)
    for code, words, env, key, said in (
        (2, ("packaging.release",), {}, "releases", "nothing is selected"),
        (2, (*release, "--ref", "main"), {}, "releases", "never published"),
        (1, release, away, "releases", "does not answer"),
        (1, (*plan, "--ref", "v9"), {}, "projects", "no tag"),
    ):
        done = index.run(home, *words, "--json", **env)
        assert done.returncode == code, done.stderr
        document = json.loads(done.stdout)
        assert document[key] == []
        (failure,) = document["failures"]
        assert said in failure["problem"]
        assert failure["remedy"]
        assert f"error: {failure['problem']}" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_backend_too(
    number: int, code: int, index: RunningIndex, home: Path, make_repository: MakeRepository
) -> None:
    """Also what the backend started."""
    remote = make_repository("slow")
    mark = home / "pids"
    slow = "import subprocess, time\nchild = subprocess.Popen(['sleep', '300'])\n"
    slow += f"open({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} ')\ntime.sleep(300)\n"
    remote.commit(tiny_files("acme-slow", backend=slow), "v1.0.0")
    child = index.spawn(home, "packaging.release", "--repo", remote.address)
    eventually(lambda: mark.exists() and mark.read_text().endswith(" "))
    ended_by(child, number, code, mark.read_text().split())


def test_sigterm_ends_a_git_that_waits_for_its_remote(index: RunningIndex, home: Path) -> None:
    with silent() as remote:
        child = index.spawn(home, "packaging.release", "--repo", f"{remote.url}acme.git")
        remote.heard.wait(PATIENCE_S)
        ended_by(child, signal.SIGTERM, 143, children_of(child.pid, "git"))


@pytest.mark.slow
def test_sigterm_ends_an_uv_that_waits_for_the_index(
    home: Path, tmp_path: Path, make_repository: MakeRepository
) -> None:
    """The index waits for its upstream meanwhile."""
    remote = make_repository("waiting")
    files = tiny_files("acme-waiting")
    files["pyproject.toml"] = files["pyproject.toml"].replace("requires = []", 'requires = ["third-party"]')
    remote.commit(files, "v1.0.0")
    (tmp_path / "slow").mkdir()
    with silent() as upstream:
        slow = RunningIndex(tmp_path / "slow", f"{upstream.url}simple/")
        try:
            slow.start()
            child = slow.spawn(home, "packaging.release", "--repo", remote.address)
            upstream.heard.wait(PATIENCE_S)
            ended_by(child, signal.SIGTERM, 143, children_of(child.pid, "uv"))
        finally:
            slow.stop()


def ended_by(child: subprocess.Popen[str], number: int, code: int, children: list[str]) -> None:
    """Send `child` the signal: it must end with `code`, and with it all of `children`."""
    try:
        assert children
        assert all(running(pid) for pid in children)
        child.send_signal(number)
        _out, err = child.communicate(timeout=PATIENCE_S)
    finally:
        child.kill()
    assert child.returncode == code
    assert "Traceback" not in err
    # those of other parents are init's to reap
    eventually(lambda: not any(running(pid) for pid in children))
