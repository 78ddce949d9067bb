"""What may be published: every rule by one archive that breaks it, and all findings at once."""

from __future__ import annotations

import ast
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.version import Version
from tests import zoo

from pinwheel.packaging.building import linkage
from pinwheel.packaging.inspection import findings, rules
from pinwheel.packaging.inspection.examine import examine
from pinwheel.packaging.inspection.findings import Allowance, Finding, NotFit
from pinwheel.packaging.inspection.rules import Origin
from pinwheel.packaging.repositories import elsewhere

KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n" + "AAAA" * 16 + "\n"

METADATA = b"Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n"


def git_id(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


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
    wanted = Version(expected) if expected else None
    return examine(path, name=name, version=wanted, origin=origin).findings


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
        "has a name that files of secrets have",
    ]
    error = NotFit("acme 1.2", found)
    assert "7 findings" in error.problem
    assert error.where.count("\n") == 6
    warned = NotFit("acme 1.2", (Finding("warning", "readme", "a.whl", "has a README …", "correct it"), *found))
    assert "7 findings" in warned.problem
    assert warned.where.splitlines()[-1] == "warning: a.whl: has a README … [readme]"


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
        ("acme/.pypirc", "x", True),
        ("acme/store.p12", "x", True),
        ("acme/.env.example", "A=b", False),
        ("acme/cacert.pem", "-----BEGIN CERTIFICATE-----", False),
        ("acme/id_rsa.pub", "ssh-rsa AAAA", False),
        ("acme/environment.py", "x", False),
    ],
)
def test_files_of_secrets_are_known_by_name(tmp_path: Path, path: str, text: str, secret: bool) -> None:
    found = inspected(tmp_path, {path: text})
    assert [each.rule for each in found] == (["secret-file"] if secret else [])


@pytest.mark.parametrize("path", ["acme/key.pem", "acme/keys.py", "acme/README"])
def test_a_secret_is_found_in_every_file_and_never_told(tmp_path: Path, path: str) -> None:
    (found,) = inspected(tmp_path, {path: f"# a key\n{KEY}"})
    assert (found.rule, found.severity, found.file) == ("secret", "error", path)
    assert found.problem == "holds what looks like a private key (line 2)"
    assert "AAAA" not in f"{found} {found.document()}"


def test_a_secret_that_is_committed_and_shipped_in_the_sdist_alone_is_a_warning(tmp_path: Path) -> None:
    """Test suites have keys."""
    blob = git_id(KEY.encode())
    path = tmp_path / "acme-1.0.tar.gz"
    path.write_bytes(
        zoo.sdist("", filename=path.name, top="acme-1.0", metadata=METADATA, more={"acme-1.0/k": KEY.encode()}).content
    )
    for tree, severity in (({"k": blob}, "warning"), ({"k": "other"}, "error")):
        assert [
            (each.rule, each.severity) for each in examine(path, origin=Origin(tree | {"pyproject.toml": "x"})).findings
        ] == [("secret", severity)]


def test_what_was_not_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinwheel.packaging.inspection.examine.SEARCHED_OF_A_FILE_BYTES", 100)
    (found,) = inspected(tmp_path, {"acme/large.txt": "x" * 150})
    assert (found.rule, found.severity) == ("not-searched", "warning")
    assert "50 bytes" in found.problem


@pytest.mark.parametrize(
    ("readme", "faults"),
    [
        ("", 0),
        ("Description-Content-Type: text/x-rst\n\nTitle\n=====\n\nText.", 0),
        ("Description-Content-Type: text/x-rst\n\nTitle\n==\n\n.. nonsense::\n", 1),
        ("\nTitle\n==\n\n.. nonsense::\n", 1),
        ("Description-Content-Type: text/markdown; charset=UTF-8\n\n# Title\n\n.. nonsense::\n", 0),
        ("Description-Content-Type: text/plain\n\n.. nonsense::\n", 0),
    ],
)
def test_a_readme_that_cannot_be_rendered_is_a_warning_and_none_at_all_is_no_fault(
    tmp_path: Path, readme: str, faults: int
) -> None:
    found = inspected(tmp_path, {}, metadata=readme)
    assert [(each.rule, each.severity) for each in found] == [("readme", "warning")] * faults
    assert all("line " in each.problem for each in found)


def test_an_allowance_lets_its_findings_pass_with_the_reason_and_no_others(tmp_path: Path) -> None:
    found = inspected(tmp_path, {"tests/key.pem": KEY, "acme/key.pem": KEY})
    leave = Allowance("secret", "made for the tests", "tests/*")
    judged = findings.allow(found, (leave,))
    assert [(each.file, each.allowed) for each in judged] == [
        ("tests/key.pem", "made for the tests"),
        ("acme/key.pem", ""),
    ]
    assert [each.file for each in findings.errors(judged)] == ["acme/key.pem"]
    assert str(judged[0]).startswith("allowed: ")
    assert "(reason: made for the tests)" in str(judged[0])
    assert findings.unused(judged, (leave,)) == []
    (stale,) = findings.unused(judged, (Allowance("readme", "soon"),))
    assert (stale.rule, stale.severity) == ("unused-allowance", "warning")


def test_every_rule_that_yields_a_finding_has_a_name_that_can_be_allowed() -> None:
    written = set()
    for file in (*Path(rules.__file__).parent.glob("*.py"), Path(elsewhere.__file__), Path(linkage.__file__)):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                assert isinstance(node.args[1], ast.Constant)
                written.add(node.args[1].value)
    assert written == set(findings.RULES)


def test_a_source_tells_all_that_is_wrong_with_it() -> None:
    found = list(
        rules.problems_of_source(
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
    found = rules.problems_of_source(
        submodules=(),
        pointers=(),
        direct=(),
        stated=stated,
        expected=Version(expected) if expected else None,
        tag=tag,
    )
    assert [each.problem for each in found] == ([problem] if problem else [])


def test_the_docs_name_every_rule_in_the_words_of_the_code() -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "packaging.md").read_text()
    rows = [
        line for name, what in findings.RULES.items() for line in page.splitlines() if f"| `{name}` | {what} |" in line
    ]
    assert len(rows) == len(findings.RULES)
