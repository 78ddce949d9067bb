"""Taking over a pypiserver folder."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import bcrypt
import pytest
from packaging.utils import canonicalize_name
from pypiserver.pkg_helpers import guess_pkgname_and_version
from tests.index import running
from tests.index.making import Made, sdist, wheel
from tests.index.running import JSON, Upstream, environment, eventually, names, run_pinwheel

from pinwheel.archive import Limits
from pinwheel.index.entries import Act, NewFile, NoSpace, Outcome
from pinwheel.index.intake import importing
from pinwheel.index.intake.admission import Admitted, judge_file
from pinwheel.index.intake.importing import Imported, Seen, batches, distributions, import_all, project_of
from pinwheel.index.server.assembly import Stored, now, stored
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.records import DatabaseRecords
from pinwheel.index.upkeep.sweeping import sweep
from pinwheel.index.upkeep.verifying import verify


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder as pypiserver has it: nested, with things in it that are no distributions."""
    folder = tmp_path / "packages"
    (folder / "nested").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for made, where in ((wheel("acme"), ""), (sdist("acme"), "nested"), (wheel("hidden"), ".hidden")):
        (folder / where / made.filename).write_bytes(made.content)
    (folder / "broken-1.0.tar.gz").write_bytes(b"half")
    (folder / "old-1.0.zip").write_bytes(b"zip")
    (folder / "gone-1.0-py3-none-any.whl").symlink_to("nowhere")
    (folder / "README.txt").write_text("not a distribution")
    return folder


def take_over(index: Stored, folder: Path) -> list[Imported]:
    return list(
        import_all(
            distributions(folder),
            records=index.records,
            blobs=index.blobs,
            memory=index.imports,
            temporary=index.temporary,
            limits=Limits(),
            now=now,
        )
    )


def became(imported: Sequence[Imported]) -> Mapping[str, str]:
    return {each.path.name: each.became for each in imported}


def test_a_pypiserver_folder_is_taken_over_and_a_second_time_nothing_changes(index: Stored, packages: Path) -> None:
    expected = {
        wheel("acme").filename: "published",
        sdist("acme").filename: "published",
        "broken-1.0.tar.gz": "refused",
        "old-1.0.zip": "refused",
    }
    assert became(take_over(index, packages)) == expected
    assert Counter(became(take_over(index, packages)).values()) == {"known": 2, "refused": 2}
    assert [entry.filename for entry in index.records.project("acme").files] == sorted(
        [wheel("acme").filename, sdist("acme").filename]
    )
    assert list(verify(index.records, index.blobs)) == []
    assert list(index.temporary.iterdir()) == []


def test_what_was_taken_over_is_not_read_again_unless_it_changed(
    index: Stored, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(path: Path, filename: str, sha256: str, limits: Limits) -> Admitted:
        read.append(filename)
        return judge_file(path, filename, sha256, limits)

    take_over(index, packages)
    monkeypatch.setattr(importing, "judge_file", reading)
    take_over(index, packages)
    assert sorted(read) == ["broken-1.0.tar.gz", "old-1.0.zip"], "a refusal is said each time"
    read.clear()
    (packages / wheel("acme").filename).write_bytes(wheel("acme", code="other = True").content)
    assert became(take_over(index, packages))[wheel("acme").filename] == "refused"
    assert wheel("acme").filename in read


def test_what_is_done_to_the_folder_later_does_not_touch_what_was_taken_over(index: Stored, packages: Path) -> None:
    take_over(index, packages)
    old = packages / wheel("acme").filename
    assert old.stat().st_nlink == 1
    with old.open("r+b") as file:
        file.write(b"overwritten in place")
    assert list(verify(index.records, index.blobs)) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_folder_on_another_file_system_is_taken_over_too(index: Stored) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / wheel("acme").filename).write_bytes(wheel("acme").content)
        assert [each.became for each in take_over(index, Path(folder))] == ["published"]


def test_other_bytes_in_the_folder_do_not_replace_what_is_published(index: Stored, tmp_path: Path) -> None:
    def put(made: Made) -> Imported:
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        (folder / made.filename).write_bytes(made.content)
        (imported,) = take_over(index, folder)
        return imported

    assert put(wheel("acme")).became == "published"
    refused = put(wheel("acme", code="other = True"))
    assert (refused.became, wheel("acme").sha256 in refused.reason) == ("refused", True)
    assert set(index.blobs.every()) == index.records.blobs(), "the refused one takes no space"


def test_a_file_that_was_removed_here_stays_away(index: Stored, packages: Path) -> None:
    take_over(index, packages)
    index.releases.remove("acme", wheel("acme").version, Act(now(), "tester"))
    os.utime(packages / wheel("acme").filename)
    assert became(take_over(index, packages))[wheel("acme").filename] == "known"
    assert index.records.file(wheel("acme").filename) is None
    sweep(index.records, index.blobs, index.temporary)
    assert set(index.blobs.every()) == index.records.blobs()


def test_a_project_of_which_every_file_was_refused_is_private_all_the_same(index: Stored, packages: Path) -> None:
    """pypiserver gave it to its users, who must not be given a stranger's of the same name now."""
    take_over(index, packages)
    assert index.records.names() == ("acme",)
    assert [name for name in ("acme", "broken", "old", "README", "hidden") if index.records.is_private(name)] == [
        *("acme", "broken", "old")
    ]


def test_beside_a_running_server_no_name_of_the_folder_is_asked_for_outside_while_it_is_taken_over(
    packages: Path, tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public project of the same name must not be offered before the first file of the private one is committed."""
    upstream.add(wheel("acme", "99.0"), wheel("late", "99.0"), wheel("old", "99.0"), wheel("public"))
    (packages / wheel("late").filename).write_bytes(wheel("late").content)
    heard: list[dict[str, int]] = []
    put_all = FolderBlobs.put_all
    flags = ("--upstream", upstream.url, "--anonymous-read", "--workers", "1")
    with running.running(tmp_path / "data", *flags) as server, contextlib.closing(stored(server.folder)) as index:

        def put(store: FolderBlobs, files: Mapping[str, Path]) -> None:
            asked = ("acme", "late", "old", "public")
            heard.append({name: server.ask("GET", f"/simple/{name}/").status for name in asked})
            put_all(store, files)

        monkeypatch.setattr(FolderBlobs, "put_all", put)
        monkeypatch.setattr(importing, "BATCH_FILES", 1)
        take_over(index, packages)
        pages = {name: names(server.ask("GET", f"/simple/{name}/", headers=JSON)) for name in ("acme", "late")}
    assert heard[0] == {"acme": 404, "late": 404, "old": 404, "public": 200}, "private, and nothing is published yet"
    assert pages == {"acme": sorted([wheel("acme").filename, sdist("acme").filename]), "late": [wheel("late").filename]}
    assert upstream.requests == ["/simple/public/"]


@pytest.mark.parametrize(
    "filename",
    [
        *("Foo_Bar-1.0-py3-none-any.whl", "foo.bar-1.0.tar.gz", "foo-bar-1.0.zip", "foo-2to3-1.0.tar.bz2"),
        *("foo_bar-1.0-py2.7.egg", "foo-bar-latest.zip", "nothing.zip", "foo-1.0-beta-2.tar.gz", "a-b-1!2.0.zip"),
        *("foo-bar-1.0.win32-py2.7.exe", "foo-1.0.win-amd64-py3.6.msi", "foo-1.0-py2.7-linux-x86_64.egg"),
    ],
)
def test_a_refused_file_is_found_and_belongs_to_the_project_under_which_pypiserver_lists_it(
    filename: str, tmp_path: Path
) -> None:
    guessed = guess_pkgname_and_version(filename)
    assert guessed is not None
    assert project_of(filename) == canonicalize_name(guessed[0])
    (tmp_path / filename).touch()
    assert [each.path.name for each in distributions(tmp_path)] == [filename]


@pytest.mark.parametrize("filename", ["-1.0.zip", "\u00fcn\u00efcode-1.0.zip", "a b-1.0.zip"])
def test_what_is_no_name_of_a_project_is_none(filename: str) -> None:
    assert project_of(filename) == ""


def test_one_name_twice_in_the_folder_is_published_once(index: Stored, packages: Path) -> None:
    (packages / "nested" / wheel("acme").filename).write_bytes(wheel("acme", code="other = True").content)
    assert Counter(each.became for each in take_over(index, packages)) == {"published": 2, "refused": 3}
    assert index.records.project("acme").files[0].sha256 == wheel("acme").sha256


def test_batches_are_bounded_by_number_and_by_size() -> None:
    def seen(*sizes: int) -> list[Seen]:
        return [Seen(Path(f"/{number}"), size, 0) for number, size in enumerate(sizes)]

    most, large = importing.BATCH_FILES, importing.BATCH_BYTES
    assert [len(batch) for batch in batches(seen(*[1] * (2 * most + 1)))] == [most, most, 1]
    assert [len(batch) for batch in batches(seen(1, large, large, 1))] == [2, 1, 1]
    assert list(batches([])) == []


def test_when_the_disk_is_full_nothing_half_is_there_and_it_goes_on_later(
    index: Stored, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> tuple[Outcome, ...]:
        raise NoSpace("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(DatabaseRecords, "publish_all", full)
        with pytest.raises(NoSpace):
            take_over(index, packages)
    assert (list(index.blobs.every()), list(index.temporary.iterdir())) == ([], [])
    assert Counter(became(take_over(index, packages)).values()) == {"published": 2, "refused": 2}


def test_blobs_are_on_disk_before_the_one_commit_of_their_records(
    index: Stored, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    put_all, publish_all = FolderBlobs.put_all, DatabaseRecords.publish_all

    def put(store: FolderBlobs, files: Mapping[str, Path]) -> None:
        put_all(store, files)
        done.append("blobs")

    def publish(store: DatabaseRecords, new: Sequence[NewFile]) -> tuple[Outcome, ...]:
        assert all(index.blobs.size_bytes(each.entry.sha256) for each in new)
        done.append("records")
        return publish_all(store, new)

    monkeypatch.setattr(FolderBlobs, "put_all", put)
    monkeypatch.setattr(DatabaseRecords, "publish_all", publish)
    take_over(index, packages)
    assert done == ["blobs", "records"]


DIES = """
import os, signal, sys
from pathlib import Path
from pinwheel.index.intake import importing
from pinwheel.index.server.assembly import stored
from pinwheel.index.commands.takeover import take_over

importing.BATCH_FILES = 4
moment, after = sys.argv[3], int(sys.argv[4])
index = stored(Path(sys.argv[1]), create=True)

def dies(real):
    left = [after]
    def call(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

owner, name = {"copy": (importing, "judge_file"), "blob": (type(index.blobs), "_place"),
               "record": (type(index.records), "publish_all"), "memory": (type(index.imports), "remember")}[moment]
setattr(owner, name, dies(getattr(owner, name)))
take_over(index, Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "after"), [("copy", 6), ("blob", 11), ("record", 1), ("memory", 1)])
def test_an_import_that_is_killed_goes_on_where_it_was(tmp_path: Path, moment: str, after: int) -> None:
    folder, packages = tmp_path / "data", tmp_path / "packages"
    packages.mkdir()
    every = [wheel("acme", f"1.{number}") for number in range(11)]
    for made in every:
        (packages / made.filename).write_bytes(made.content)
    argv = (sys.executable, "-P", "-c", DIES, str(folder), str(packages), moment, str(after))
    assert subprocess.run(argv, env=environment(), timeout=60, check=False).returncode == -signal.SIGKILL
    index = stored(folder)
    try:
        there = len(index.records.project("acme").files)
        assert there == (8 if moment == "memory" else 4), "whole batches"
        assert list(verify(index.records, index.blobs)) == []
        sweep(index.records, index.blobs, index.temporary)
        assert Counter(became(take_over(index, packages)).values()) == {"known": there, "published": 11 - there}
        assert {entry.sha256 for entry in index.records.project("acme").files} == {made.sha256 for made in every}
        assert list(verify(index.records, index.blobs)) == []
        assert (set(index.blobs.every()), list(index.temporary.iterdir())) == (index.records.blobs(), [])
    finally:
        index.close()


def test_a_server_starts_on_a_pypiserver_folder_and_its_password_file(packages: Path, tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"ann:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}\n")
    flags = ("--packages", str(packages), "--htpasswd", str(passwords), "--workers", "1")
    with running.running(tmp_path / "data", *flags) as server:
        headers = running.authorization("pw", "ann") | JSON
        assert len(names(server.ask("GET", "/simple/acme/", headers=headers))) == 2
        assert any("2 published, 0 known, 2 refused" in line for line in server.log)
        assert any(line.startswith("refused old-1.0.zip: ") for line in server.log)
        late = wheel("late")
        (packages / late.filename).write_bytes(late.content)
        done = run_pinwheel("index.import", str(packages), "--data", str(server.folder), "--json")
        assert (done.returncode, json.loads(done.stdout)["published"]) == (0, 1)
        eventually(lambda: server.ask("GET", "/simple/late/", headers=headers).status == 200)


def test_the_report_names_what_was_refused_and_why(packages: Path, tmp_path: Path) -> None:
    report, data = tmp_path / "refused.json", str(tmp_path / "data")
    done = run_pinwheel("index.import", str(packages), "--data", data, "--report", str(report))
    assert (done.returncode, done.stdout) == (0, "")
    document = json.loads(report.read_text())
    assert (document["published"], document["known"]) == (2, 0)
    assert {each["file"]: each["reason"] for each in document["refused"]}.keys() == {"broken-1.0.tar.gz", "old-1.0.zip"}
    assert "neither in .whl nor in .tar.gz" in document["refused"][1]["reason"]


@pytest.mark.parametrize("name", ["missing", "README.txt"])
def test_what_is_no_folder_is_one_clear_error(packages: Path, tmp_path: Path, name: str) -> None:
    done = run_pinwheel("index.import", str(packages / name), "--data", str(tmp_path / "data"))
    assert (done.returncode, "no such folder" in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


IMPORTS = """
import sys
from pathlib import Path
from pinwheel.index.intake import importing
from pinwheel.index.server.assembly import stored
from pinwheel.index.commands.takeover import take_over

importing.BATCH_FILES = 25
take_over(stored(Path(sys.argv[1]), create=True), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_an_import_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    chance, folder, packages = random.Random(seed), tmp_path / "data", tmp_path / "packages"
    packages.mkdir()
    every = [wheel(f"acme-{number % 40}", f"1.{number}", padding=chance.randrange(100_000)) for number in range(2_000)]
    for made in every:
        (packages / made.filename).write_bytes(made.content)
    argv = (sys.executable, "-P", "-c", IMPORTS, str(folder), str(packages))
    with contextlib.closing(stored(folder, create=True)) as index:
        for _ in range(15):
            before = index.records.totals().files
            enough = before + chance.randrange(150)
            with subprocess.Popen(argv, env=environment(), stderr=subprocess.DEVNULL) as importer:
                eventually(lambda: index.records.totals().files >= enough or importer.poll() is not None)  # noqa: B023
                importer.kill()
            assert list(verify(index.records, index.blobs)) == []
        subprocess.run(argv, env=environment(), stderr=subprocess.DEVNULL, timeout=300, check=True)
        assert {entry.sha256 for entry in index.records.every_file()} == {made.sha256 for made in every}
        published = [event for event in index.events.after(0, 5_000)[0] if event["kind"] == "published"]
        assert len(published) == len(every), "each has one event"
        sweep(index.records, index.blobs, index.temporary)
        assert (set(index.blobs.every()), list(index.temporary.iterdir())) == (index.records.blobs(), [])
        assert list(verify(index.records, index.blobs)) == []
