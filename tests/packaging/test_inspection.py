"""What may be published: every rule by one archive that breaks it, and all findings at once."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.version import Version

from pinwheel import archive
from pinwheel.packaging import inspection, normalise
from pinwheel.packaging.inspection import Finding, Origin

KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nAAAA\n"


def inspected(
    folder: Path,
    files: Mapping[str, str],
    *,
    metadata: str = "",
    version: str = "1.0",
    tag: str = "py3-none-any",
    name: str = "",
    expected: str = "",
    origin: Origin | None = None,
) -> tuple[Finding, ...]:
    """The findings for a wheel of these files."""
    path = folder / f"acme-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as made:
        info = f"acme-{version}.dist-info"
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: acme\nVersion: {version}\n{metadata}")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        made.writestr(f"{info}/RECORD", "")
        for member, text in files.items():
            made.writestr(member, text)
    read = archive.read(path, path.name)
    wanted = Version(expected) if expected else None
    return inspection.inspect(read, normalise.contents(path), name=name, version=wanted, origin=origin)


def test_a_sound_wheel_yields_nothing(tmp_path: Path) -> None:
    origin = Origin({"src/acme/__init__.py": "any"})
    assert inspected(tmp_path, {"acme/__init__.py": "x"}, name="acme", expected="1.0", origin=origin) == ()


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    found = inspected(
        tmp_path,
        {"acme/.env": "TOKEN=x", "acme/made.py": "x"},
        version="1.1+local",
        metadata="Requires-Dist: evil @ https://host.example/evil.whl\n",
        name="other",
        expected="1.2",
        origin=Origin({"acme/__init__.py": "any"}, strict=True),
    )
    assert [each.problem for each in found] == [
        "is called acme, expected is other",
        "has version 1.1+local, the tag says 1.2",
        "has the local version 1.1+local",
        "depends on evil by its address",
        "is not in the commit",
        "is not in the commit",
        "looks like a secret",
    ]
    error = inspection.NotFit("acme 1.2", found)
    assert "7 findings" in error.problem
    assert error.where.count("\n") == 6


def test_a_file_that_is_not_in_the_commit_weighs_more_where_it_can_be_declared(tmp_path: Path) -> None:
    files = {"acme/made.py": "x"}
    (lax,) = inspected(tmp_path, files, origin=Origin({}))
    (strict,) = inspected(tmp_path, files, origin=Origin({}, strict=True))
    declared = inspected(tmp_path, files, origin=Origin({}, ("acme/made.*",), strict=True))
    assert (lax.severity, strict.severity, declared) == ("warning", "error", ())


def test_compiled_files_belong_into_a_wheel_for_a_platform_and_into_no_other(tmp_path: Path) -> None:
    files = {"acme/fast.so": "x"}
    origin = Origin({}, strict=True)
    assert inspected(tmp_path, files, tag="cp311-cp311-linux_x86_64", origin=origin) == ()
    assert [each.severity for each in inspected(tmp_path, files, origin=origin)] == ["error"]


@pytest.mark.parametrize(
    ("path", "text", "secret"),
    [
        (".env", "A=b", True),
        ("acme/.env.production", "A=b", True),
        ("acme/id_ed25519", "x", True),
        ("acme/key.pem", KEY, True),
        ("acme/server.key", KEY.replace("OPENSSH ", "RSA "), True),
        ("acme/plain.key", KEY.replace("OPENSSH ", ""), True),
        ("acme/.pypirc", "x", True),
        ("acme/store.p12", "x", True),
        ("acme/.env.example", "A=b", False),
        ("acme/cacert.pem", "-----BEGIN CERTIFICATE-----", False),
        ("acme/id_rsa.pub", "ssh-rsa AAAA", False),
        ("acme/keys.py", f"'''{KEY}'''", False),
        ("acme/environment.py", "x", False),
    ],
)
def test_secrets_are_known_by_name_and_by_content(tmp_path: Path, path: str, text: str, secret: bool) -> None:
    found = inspected(tmp_path, {path: text})
    assert [each.problem for each in found] == (["looks like a secret"] if secret else [])


def test_a_source_tells_all_that_is_wrong_with_it() -> None:
    found = list(
        inspection.problems_of_source(
            submodules=["vendor/lib"],
            pointers=["acme/model.bin"],
            direct=["evil @ https://host.example/e"],
            stated="1.2.1",
            expected=Version("1.2.0"),
            tag="v1.2.0",
        )
    )
    assert [each.file for each in found] == ["vendor/lib", "acme/model.bin", "pyproject.toml", "pyproject.toml"]
    assert found[-1].problem == "states version 1.2.1, the tag v1.2.0 says 1.2.0"


@pytest.mark.parametrize(
    ("stated", "expected", "tag", "problem"),
    [
        ("1.2.0", "1.2", "v1.2", None),
        (None, "1.2", "v1.2", None),
        (None, None, "nightly", "the version is dynamic and the tag nightly names none"),
        ("one", None, "nightly", "'one' is not a version"),
        ("1.0", "1.0", "", None),
    ],
)
def test_the_tag_and_the_project_must_agree(
    stated: str | None, expected: str | None, tag: str, problem: str | None
) -> None:
    found = inspection.problems_of_source(
        submodules=(),
        pointers=(),
        direct=(),
        stated=stated,
        expected=Version(expected) if expected else None,
        tag=tag,
    )
    assert [each.problem for each in found] == ([problem] if problem else [])
