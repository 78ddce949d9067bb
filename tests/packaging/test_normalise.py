"""What a machine adds to an archive is taken out; what the backend wrote stays."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.packaging.forge import Repository, git

from pinwheel.packaging.building import normalise
from pinwheel.packaging.inspection import examine

EPOCH = 1_767_323_045


def wheel_of(members: Sequence[tuple[str, bytes]], *, mode: int = 0o644, year: int = 2024) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in members:
            info = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, body)
    return out.getvalue()


def sdist_of(members: Sequence[tuple[str, bytes]], *, mode: int = 0o644, owner: str = "ada", mtime: int = 1) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uname, info.uid, info.mtime = len(body), mode, owner, 1000, mtime
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


MEMBERS = [
    ("b.py", b"b"),
    ("a/ü.py", b"a"),
    ("x-1.dist-info/RECORD", b"b.py,,\na.py,,\n"),
    ("x-1.dist-info/METADATA", b"m"),
]


def test_a_wheel_does_not_depend_on_order_mode_and_time() -> None:
    one = normalise.wheel(wheel_of(MEMBERS, mode=0o600, year=1999), EPOCH)
    other = normalise.wheel(wheel_of(MEMBERS[::-1], mode=0o664, year=2020), EPOCH)
    assert one == other
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        assert archive.namelist() == ["a/ü.py", "b.py", "x-1.dist-info/METADATA", "x-1.dist-info/RECORD"]
        assert archive.read("x-1.dist-info/RECORD") == b"a.py,,\nb.py,,\n"
        assert {info.date_time for info in archive.infolist()} == {(2026, 1, 2, 3, 4, 4)}


def test_an_sdist_does_not_depend_on_order_owner_mode_and_time() -> None:
    members = [("x-1/b.py", b"b"), ("x-1/a.py", b"a")]
    one = normalise.sdist(sdist_of(members, mode=0o600, owner="ada", mtime=5), EPOCH)
    other = normalise.sdist(sdist_of(members[::-1], mode=0o664, owner="bob", mtime=7), EPOCH)
    assert one == other
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        assert [(m.name, m.mtime, m.mode, m.uname, m.uid) for m in archive] == [
            ("x-1/a.py", EPOCH, 0o644, "", 0),
            ("x-1/b.py", EPOCH, 0o644, "", 0),
        ]


def test_what_can_be_executed_stays_so_and_links_stay_links() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        script = tarfile.TarInfo("x-1/z-script")
        script.size, script.mode = 2, 0o700
        archive.addfile(script, io.BytesIO(b"#!"))
        soft, hard = tarfile.TarInfo("x-1/soft"), tarfile.TarInfo("x-1/hard")
        soft.type, soft.linkname = tarfile.SYMTYPE, "z-script"
        hard.type, hard.linkname = tarfile.LNKTYPE, "x-1/z-script"
        archive.addfile(soft)
        archive.addfile(hard)
    with tarfile.open(fileobj=io.BytesIO(normalise.sdist(out.getvalue(), EPOCH))) as archive:
        assert archive.getmember("x-1/z-script").mode == 0o755
        assert archive.getmember("x-1/soft").linkname == "z-script"
        body = archive.extractfile("x-1/hard")
        assert body is not None
        assert body.read() == b"#!"
    executable = normalise.wheel(wheel_of([("x.data/scripts/run", b"#!")], mode=0o711), EPOCH)
    with zipfile.ZipFile(io.BytesIO(executable)) as archive:
        assert archive.infolist()[0].external_attr >> 16 == 0o100755


def test_a_commit_from_before_1980_is_no_obstacle() -> None:
    with zipfile.ZipFile(io.BytesIO(normalise.wheel(wheel_of(MEMBERS), 0))) as archive:
        assert archive.infolist()[0].date_time[0] == 1980


names = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0", categories=("L", "N")), min_size=1, max_size=8)


@settings(max_examples=50)
@given(st.dictionaries(names, st.binary(max_size=64), min_size=1, max_size=6))
def test_normalising_keeps_contents_and_is_done_after_once(files: dict[str, bytes]) -> None:
    wheel = normalise.wheel(wheel_of(list(files.items())), EPOCH)
    assert normalise.wheel(wheel, EPOCH) == wheel
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
    sdist = normalise.sdist(sdist_of([(f"x-1/{name}", body) for name, body in files.items()]), EPOCH)
    assert normalise.sdist(sdist, EPOCH) == sdist


def test_git_and_we_agree_on_the_id_of_a_files_bytes(
    tmp_path: Path, make_repository: Callable[[str], Repository]
) -> None:
    remote = make_repository("ids")
    remote.commit({"b.py": "b"})
    path = tmp_path / "x-1-py3-none-any.whl"
    path.write_bytes(wheel_of([("b.py", b"b")]))
    (content,) = examine.contents(path)
    assert content.blob == git(remote.folder, "rev-parse", "HEAD:b.py")
