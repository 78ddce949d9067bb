"""Archives of unknown origin: what is sound is read, what is not is refused with every reason."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from pinwheel import archive
from pinwheel.archive import BadArchive, Limits

METADATA = b"Metadata-Version: 2.4\nName: Acme_Greet\nVersion: 1.0.0\nRequires-Python: >=3.11\n\nHello.\n"
WHEEL = "acme_greet-1.0.0-py3-none-any.whl"
SDIST = "acme_greet-1.0.0.tar.gz"


def wheel(at: Path, members: Mapping[str, bytes] | None = None, *, metadata: bytes = METADATA) -> Path:
    usual = {
        "acme_greet/__init__.py": b"",
        "acme_greet-1.0.0.dist-info/METADATA": metadata,
        "acme_greet-1.0.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n",
        "acme_greet-1.0.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in (usual | dict(members or {})).items():
            file.writestr(name, body)
    return at


def sdist(at: Path, *more: tarfile.TarInfo, metadata: bytes = METADATA) -> Path:
    with tarfile.open(at, "w:gz") as file:
        info = tarfile.TarInfo("acme_greet-1.0.0/PKG-INFO")
        info.size = len(metadata)
        file.addfile(info, io.BytesIO(metadata))
        for each in more:
            file.addfile(each, io.BytesIO(bytes(each.size)))
    return at


def member(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


def reasons(path: Path, filename: str, limits: Limits | None = None) -> tuple[str, ...]:
    with pytest.raises(BadArchive) as caught:
        archive.read(path, filename, limits or Limits())
    return caught.value.reasons


def test_a_wheel_tells_its_name_version_metadata_and_members(tmp_path: Path) -> None:
    found = archive.read(wheel(tmp_path / WHEEL), WHEEL)
    assert (found.kind, found.name, str(found.version)) == ("wheel", "acme-greet", "1.0.0")
    assert found.core_metadata == METADATA
    assert str(found.metadata.requires_python) == ">=3.11"
    assert "acme_greet/__init__.py" in {each.path for each in found.members}
    assert found.metadata_is_reliable
    assert archive.wheel_metadata(tmp_path / WHEEL) == METADATA


def test_an_sdist_tells_the_same_things(tmp_path: Path) -> None:
    found = archive.read(sdist(tmp_path / SDIST, member("acme_greet-1.0.0/setup.py", size=7)), SDIST)
    assert (found.kind, found.name, str(found.version)) == ("sdist", "acme-greet", "1.0.0")
    assert [each.size_bytes for each in found.members] == [len(METADATA), 7]


@pytest.mark.parametrize(
    ("metadata", "reliable"),
    [
        (METADATA, True),
        (METADATA.replace(b"2.4", b"2.1"), False),
        (METADATA.replace(b"\n\n", b"\nDynamic: Requires-Dist\n\n"), False),
        (METADATA.replace(b"\n\n", b"\nDynamic: License\n\n"), True),
    ],
)
def test_an_sdist_vouches_for_its_wheels_dependencies_only_as_pep_643_says(
    tmp_path: Path, metadata: bytes, reliable: bool
) -> None:
    assert archive.read(sdist(tmp_path / SDIST, metadata=metadata), SDIST).metadata_is_reliable is reliable


def test_two_names_of_one_thing_have_one_identity() -> None:
    assert (
        archive.name_of("Foo_Bar-1.0-py3-none-any.whl").identity
        == archive.name_of("foo_bar-1.0.0-py3-none-any.whl").identity
    )
    assert archive.name_of("foo_bar-1.0.tar.gz").identity == archive.name_of("foo-bar-1.0.0.tar.gz").identity
    assert (
        archive.name_of("foo-1.0-1-py3-none-any.whl").identity != archive.name_of("foo-1.0-py3-none-any.whl").identity
    )


@pytest.mark.parametrize(
    "filename",
    [
        "../acme_greet-1.0.0-py3-none-any.whl",
        "/etc/acme_greet-1.0.0.tar.gz",
        "..\\acme_greet-1.0.0.tar.gz",
        "%2e%2e%2facme_greet-1.0.0.tar.gz",
        "acme_greet-1.0.0\0.tar.gz",
        "a" * 300 + "-1.0.tar.gz",
        ".acme_greet-1.0.0.tar.gz",
        "äcme_greet-1.0.0.tar.gz",
        "acme_greet-1.0.0.zip",
        "acme_greet-1.0.0.whl",
        "acme_greet-one-py3-none-any.whl",
        "acme_greet.tar.gz",
        "",
    ],
)
def test_a_name_that_no_distribution_has_is_refused(filename: str) -> None:
    with pytest.raises(BadArchive):
        archive.name_of(filename)


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    bad = METADATA.replace(b"Acme_Greet", b"other").replace(b"1.0.0", b"2.0").replace(b">=3.11", b"three")
    path = wheel(tmp_path / WHEEL, {"../outside": b""}, metadata=bad)
    told = "\n".join(reasons(path, WHEEL))
    for part in ("outside", "acme-greet", "other", "version 1.0.0", "2.0", "three"):
        assert part in told


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
@pytest.mark.parametrize("filename", [WHEEL, SDIST])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, filename: str) -> None:
    (tmp_path / filename).write_bytes(content)
    assert reasons(tmp_path / filename, filename)


@pytest.mark.parametrize("filename", [WHEEL, SDIST])
def test_a_cut_archive_is_refused_wherever_it_was_cut(tmp_path: Path, filename: str) -> None:
    whole = (wheel if filename == WHEEL else sdist)(tmp_path / filename).read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (tmp_path / filename).write_bytes(whole[:length])
        assert reasons(tmp_path / filename, filename)


def test_a_wheel_without_its_parts_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as file:
        file.writestr("acme_greet/__init__.py", "")
    told = "\n".join(reasons(tmp_path / WHEEL, WHEEL))
    for part in ("METADATA", "WHEEL", "RECORD"):
        assert part in told


def test_metadata_of_another_distribution_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path / "acme_greet-2.0-py3-none-any.whl")
    assert any("dist-info/METADATA does not belong" in each for each in reasons(path, path.name))


@pytest.mark.parametrize(
    "bad",
    [
        member("acme_greet-1.0.0/../../outside"),
        member("/etc/passwd"),
        member("acme_greet-1.0.0/link", kind=tarfile.SYMTYPE, target="../../etc/passwd"),
        member("acme_greet-1.0.0/link", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        member("acme_greet-1.0.0/hard", kind=tarfile.LNKTYPE, target="elsewhere"),
        member("acme_greet-1.0.0/device", kind=tarfile.CHRTYPE),
        member("acme_greet-1.0.0/pipe", kind=tarfile.FIFOTYPE),
        member("acme_greet-1.0.0/PKG-INFO"),
        member("second/setup.py"),
    ],
    ids=lambda each: f"{each.name}-{each.type.decode('latin-1')}",
)
def test_an_sdist_with_a_bad_member_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    assert reasons(sdist(tmp_path / SDIST, bad), SDIST)


def test_a_link_within_the_sdist_is_fine(tmp_path: Path) -> None:
    link = member("acme_greet-1.0.0/docs/README", kind=tarfile.SYMTYPE, target="../PKG-INFO")
    assert archive.read(sdist(tmp_path / SDIST, link), SDIST)


def test_bombs_are_refused_before_they_burst(tmp_path: Path) -> None:
    tight = Limits(members=100, unpacked_bytes=2**20, free_bytes=2**18, ratio=50)
    zip_bomb = wheel(tmp_path / WHEEL, {"acme_greet/zeros": bytes(2**19)})
    assert any("times its size" in each for each in reasons(zip_bomb, WHEEL, tight))
    tar_bomb = sdist(tmp_path / SDIST, member("acme_greet-1.0.0/zeros", size=2**19))
    assert any("times its size" in each for each in reasons(tar_bomb, SDIST, tight))
    huge = sdist(tmp_path / SDIST, member("acme_greet-1.0.0/zeros", size=2**21))
    assert any("MiB" in each for each in reasons(huge, SDIST, Limits(unpacked_bytes=2**20)))


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    tight = Limits(members=20)
    crowd = {f"acme_greet/{number}.py": b"" for number in range(30)}
    assert any("members" in each for each in reasons(wheel(tmp_path / WHEEL, crowd), WHEEL, tight))
    many = [member(f"acme_greet-1.0.0/{number}") for number in range(30)]
    assert any("members" in each for each in reasons(sdist(tmp_path / SDIST, *many), SDIST, tight))


@pytest.mark.parametrize("zip64", [False, True])
def test_members_are_counted_before_they_are_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zip64: bool
) -> None:
    """zipfile makes an object of each member that the directory lists; the archive may state another number."""
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as file:
        for number in range(300):
            file.writestr(str(number), b"")
        if zip64:
            monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    content = (tmp_path / WHEEL).read_bytes()
    assert (b"PK\6\6" in content) is zip64
    end = content.rindex(b"PK\5\6")
    if not zip64:
        (tmp_path / WHEEL).write_bytes(content[: end + 8] + b"\1\0\1\0" + content[end + 12 :])
    made: list[str] = []
    real = zipfile.ZipInfo
    with monkeypatch.context() as patched:
        patched.setattr(zipfile, "ZipInfo", lambda *given: made.append("") or real(*given))  # type: ignore[func-returns-value]
        assert reasons(tmp_path / WHEEL, WHEEL, Limits(members=200)) == ("the archive has more than 200 members",)
        assert archive.wheel_metadata(tmp_path / WHEEL, Limits(members=200)) is None
    assert not made
    assert any("METADATA" in each for each in reasons(tmp_path / WHEEL, WHEEL, Limits(members=300)))


def test_a_huge_directory_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_DIRECTORY_BYTES", 100)
    assert any("directory" in each for each in reasons(wheel(tmp_path / WHEEL), WHEEL))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_a_member_that_cannot_be_unpacked_is_a_reason(tmp_path: Path, method: int) -> None:
    name = "acme_greet-1.0.0.dist-info/METADATA"
    with zipfile.ZipFile(tmp_path / WHEEL, "w", method) as file:
        for each in ("WHEEL", "RECORD", "METADATA"):
            file.writestr(f"acme_greet-1.0.0.dist-info/{each}", METADATA)
        at = file.getinfo(name).header_offset + 30 + len(name)
    content = bytearray((tmp_path / WHEEL).read_bytes())
    content[at + 9 : at + 40] = b"\xff" * 31
    (tmp_path / WHEEL).write_bytes(content)
    assert reasons(tmp_path / WHEEL, WHEEL)
    assert archive.wheel_metadata(tmp_path / WHEEL) is None


def test_whatever_is_wrong_with_a_zip_is_a_reason(tmp_path: Path) -> None:
    """zipfile has many ways to say so: UnicodeDecodeError, OSError from a seek, IndexError, struct.error, ..."""
    content = wheel(tmp_path / WHEEL, {"ä": b""}).read_bytes()
    directory = content.index(b"PK\1\2")
    for at in range(directory, len(content)):
        for byte in (0, 0xFF):
            (tmp_path / WHEEL).write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
            with contextlib.suppress(BadArchive):
                archive.read(tmp_path / WHEEL, WHEEL)
            archive.wheel_metadata(tmp_path / WHEEL)


def test_a_huge_header_about_a_header_is_not_read_into_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / SDIST, "wb") as file:
        file.write(member("acme_greet-1.0.0/x", size=2**25, kind=tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(2**25))
    assert any("a member's header is larger than 1 MiB" in each for each in reasons(tmp_path / SDIST, SDIST))


def test_huge_metadata_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path / WHEEL, metadata=METADATA + b"x" * 2**16)
    assert any("larger than" in each for each in reasons(path, WHEEL, Limits(metadata_bytes=2**12)))


def test_what_old_and_new_backends_write_is_accepted(tmp_path: Path) -> None:
    old = METADATA.replace(b"2.4", b"2.1").replace(b"\n\n", b"\nLicense-File: LICENSE\n\n")
    new = METADATA.replace(b"2.4", b"2.9").replace(b"\n\n", b"\nFuture-Field: yes\n\n")
    for metadata in (old, new):
        assert archive.read(wheel(tmp_path / WHEEL, metadata=metadata), WHEEL)
    assert archive.read(sdist(tmp_path / SDIST, metadata=new), SDIST).metadata_is_reliable
    for nonsense in (b"2.x", b"2.", b"two"):
        assert reasons(wheel(tmp_path / WHEEL, metadata=METADATA.replace(b"2.4", nonsense)), WHEEL)


def packed(at: Path, tar: bytes) -> Path:
    at.write_bytes(gzip.compress(tar, 1, mtime=0))
    return at


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar as it would be written by somebody who means harm: each header is followed by just these bytes."""
    blocks = [info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512) for info, body in members]
    return b"".join(blocks) + bytes(1024)


def pax(text: bytes, kind: bytes = tarfile.XHDTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member("pax", size=len(text), kind=kind), text


def record(text: str) -> bytes:
    length = len(text) + 3
    return f"{length + len(str(length)) - 1} {text}\n".encode()


INFO = (member("acme_greet-1.0.0/PKG-INFO", size=len(METADATA)), METADATA)


@pytest.mark.parametrize(
    ("tar", "reason"),
    [
        (tar_of(pax(b"1" * 2**20)), "makes no sense"),  # tarfile would look at it for a quarter of an hour
        (tar_of(*[pax(b"1000000 a=" + b"x" * 2**15)] * 3), "makes no sense"),
        (tar_of(*[(member("n", size=9, kind=tarfile.GNUTYPE_LONGNAME), b"x/PKG-INFO")] * 2000), "two names"),
        (tar_of(*[pax(record("comment=" + "x" * 2**19), tarfile.XGLTYPE)] * 40), "names are longer"),
        (tar_of(pax(record("path=x/y"), tarfile.XGLTYPE), INFO), "renames all"),
        (tar_of(pax(record("GNU.sparse.map=0,1")), INFO), "sparse"),
        (tar_of((member("x/y", kind=tarfile.GNUTYPE_SPARSE), b"")), "sparse"),
        (tar_of(pax(record("size=-1")), INFO), "no number"),
        (tar_of(INFO)[:600], "within"),
        (tar_of(INFO)[:1024] + b"x" * 512 + bytes(1024), "damaged"),
        (b"", "no PKG-INFO"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_headers_that_mean_harm_are_refused_at_once(tmp_path: Path, tar: bytes, reason: str) -> None:
    told = reasons(packed(tmp_path / SDIST, tar), SDIST)
    assert any(reason in each for each in told), told


def test_what_follows_the_end_of_a_tar_counts_too(tmp_path: Path) -> None:
    path = packed(tmp_path / SDIST, tar_of(INFO) + bytes(2**21))
    assert any("MiB" in each for each in reasons(path, SDIST, Limits(unpacked_bytes=2**20)))


def test_a_gzip_file_may_have_several_parts_and_zeros_behind_them(tmp_path: Path) -> None:
    tar = tar_of(INFO)
    parts = b"".join(gzip.compress(tar[start : start + 700]) for start in range(0, len(tar), 700))
    (tmp_path / SDIST).write_bytes(parts + bytes(5000))
    assert archive.read(tmp_path / SDIST, SDIST).core_metadata == METADATA
    (tmp_path / SDIST).write_bytes(parts + b"garbage")
    assert reasons(tmp_path / SDIST, SDIST)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_is_read_as_python_reads_it(tmp_path: Path, form: int) -> None:
    with tarfile.open(tmp_path / SDIST, "w:gz", format=form) as file:
        for name in ("PKG-INFO", "long/" * 20 + "x" * 80, "ä.py" if form != tarfile.USTAR_FORMAT else "a.py", "empty"):
            info = member(f"acme_greet-1.0.0/{name}", size=0 if name == "empty" else len(METADATA))
            info.mtime = 1.5 if form == tarfile.PAX_FORMAT else 1
            file.addfile(info, io.BytesIO(METADATA))
        file.addfile(member("acme_greet-1.0.0/folder", kind=tarfile.DIRTYPE))
        file.addfile(
            member(
                "acme_greet-1.0.0/link",
                kind=tarfile.SYMTYPE,
                target="long/" * (15 if form == tarfile.USTAR_FORMAT else 30),
            )
        )
    with tarfile.open(tmp_path / SDIST) as file:
        wanted = [(each.name, each.size) for each in file if each.isfile()]
    found = archive.read(tmp_path / SDIST, SDIST)
    assert [(each.path, each.size_bytes) for each in found.members] == wanted


def test_a_thousand_faults_are_told_as_a_few_and_a_number(tmp_path: Path) -> None:
    bad = [member(f"acme_greet-1.0.0/{number}", kind=tarfile.FIFOTYPE) for number in range(1000)]
    told = reasons(sdist(tmp_path / SDIST, *bad, metadata=METADATA.replace(b"1.0.0", b"2.0")), SDIST)
    assert len(told) < 30
    assert any("980 more" in each for each in told)
    assert any("2.0" in each for each in told), "what is wrong otherwise is not lost among them"


def test_many_metadata_files_are_not_held_in_memory(tmp_path: Path) -> None:
    many = [member(f"top{number}/PKG-INFO", size=1000) for number in range(100)]
    assert any("2 PKG-INFO" in each for each in reasons(sdist(tmp_path / SDIST, *many), SDIST))


def test_a_wheel_with_a_damaged_member_is_refused(tmp_path: Path) -> None:
    """It lists well, and nobody could install it; nor could its version be published again."""
    with zipfile.ZipFile(wheel(tmp_path / WHEEL), "a") as file:
        file.writestr("acme_greet/data.bin", b"0123456789" * 10)
    content = (tmp_path / WHEEL).read_bytes()
    (tmp_path / WHEEL).write_bytes(content.replace(b"0123456789", b"0123X56789", 1))
    assert any("acme_greet/data.bin" in each and "damaged" in each for each in reasons(tmp_path / WHEEL, WHEEL))


def test_a_wheel_with_two_dist_info_folders_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path / WHEEL, {"other-1.0.dist-info/entry_points.txt": b""})
    assert any("more than one .dist-info" in each for each in reasons(path, WHEEL))


@pytest.mark.parametrize(
    "line",
    [
        b"Version: " + b"1" * 5000,
        b"Requires-Dist: a; " + b"(" * 5000 + b"python_version>'3'" + b")" * 5000,
        b"Requires-Python: >=" + b"1" * 5000,
        b"License-Expression: " + b"(" * 5000 + b"MIT" + b")" * 5000,
        b"Content-Type: message/rfc822\n\n" * 3000,
        b'Content-Type: text/plain; charset="a\0b"',
        b"Dynamic: Name",
        b"Project-URL: one\nProject-URL: one",
    ],
    ids=lambda line: line.partition(b":")[0].decode(),
)
def test_metadata_that_means_harm_is_at_most_a_reason(tmp_path: Path, line: bytes) -> None:
    bad = METADATA.replace(
        b"Version: 1.0.0\n", line + b"\n" if line.startswith(b"Version") else b"Version: 1.0.0\n" + line + b"\n"
    )
    with contextlib.suppress(BadArchive):
        archive.read(wheel(tmp_path / WHEEL, metadata=bad), WHEEL)
