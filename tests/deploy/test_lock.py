"""A lock says exactly which bytes shall run, or it is refused."""

from __future__ import annotations

import hashlib
import json

import pytest
from packaging.version import Version

from pinwheel.deploy.planning import lock
from pinwheel.deploy.planning.lock import BadLock

OURS, THEIRS = "a" * 64, "b" * 64
MORE = "c" * 64
PYLOCK = f"""lock-version = "1.0"
[[packages]]
name = "acme-shop"
version = "1.0.0"
wheels = [{{name = "acme_shop-1.0.0-py3-none-any.whl", size = 1000, hashes = {{sha256 = "{OURS}"}}}}]
[[packages]]
name = "fast"
version = "1"
marker = "python_version > '3.8'"
sdist = {{name = "fast-1.tar.gz", hashes = {{sha256 = "{"e" * 64}"}}}}
wheels = [
  {{name = "fast-1-x86.whl", size = 500, hashes = {{sha256 = "{THEIRS}"}}}},
  {{name = "fast-1-arm.whl", size = 700, hashes = {{sha256 = "{MORE}"}}}},
]
[[packages]]
name = "fast"
version = "0.9"
marker = "python_version <= '3.8'"
wheels = [{{name = "fast-0.9-any.whl", hashes = {{sha256 = "{"d" * 64}"}}}}]
""".encode()
REQUIREMENTS = f"""# made by a tool
acme-shop==1.0.0 \\
    --hash=sha256:{OURS}
fast[extra]==1 ; python_version > "3.8" --hash=sha256:{THEIRS} \\
    --hash=sha256:{MORE} --hash=sha256:{"e" * 64}
fast==0.9 ; python_version <= "3.8" --hash=sha256:{"d" * 64}
""".encode()


def checked(
    requirements: bytes = REQUIREMENTS, pylock: bytes = PYLOCK, published: frozenset[str] = frozenset({OURS})
) -> lock.Lock:
    return lock.checked("Acme.Shop", "1.0.0", pylock, requirements, published)


def test_the_release_is_named_by_version_and_lock() -> None:
    found = checked()
    sha256 = hashlib.sha256(PYLOCK).hexdigest()
    assert (found.release, found.sha256) == (f"1.0.0-{sha256[:8]}", sha256)
    assert [(each.name, each.version) for each in found.packages] == [
        ("acme-shop", "1.0.0"),
        ("fast", "1"),
        ("fast", "0.9"),
    ]


def test_pins_are_read_with_all_their_hashes() -> None:
    assert lock.pins(REQUIREMENTS.decode()) == {
        ("acme-shop", Version("1.0.0")): frozenset({OURS}),
        ("fast", Version("1")): frozenset({THEIRS, MORE, "e" * 64}),
        ("fast", Version("0.9")): frozenset({"d" * 64}),
    }


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (PYLOCK.replace(b'"0.9"', b'"0.9.1"'), "fast 0.9, fast 0.9.1"),
        (PYLOCK.replace(b"d" * 64, b"0" * 64), "fast 0.9"),
        (PYLOCK + b'[[packages]]\nname = "late"\nversion = "2"\n', "late 2"),
        (PYLOCK.partition(b'[[packages]]\nname = "fast"')[0], "fast 0.9, fast 1"),
    ],
    ids=["version", "hash", "only in pylock", "only in requirements"],
)
def test_two_documents_that_pin_different_things_are_of_two_locks(changed: bytes, says: str) -> None:
    """They are uploaded one after the other: the release is named after one, and made from the other."""
    with pytest.raises(BadLock, match=f"disagree on {says}$") as caught:
        checked(pylock=changed)
    assert "packaging.lock" in caught.value.remedy


def test_another_spelling_of_the_same_version_is_no_difference() -> None:
    assert checked(pylock=PYLOCK.replace(b'"1.0.0"', b'"1.0"').replace(b"acme-shop", b"Acme_Shop")).sha256


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"requirements": REQUIREMENTS.replace(b"1.0.0", b"1.0.1")}, "pins 1.0.1"),
        ({"requirements": REQUIREMENTS.replace(b"acme-shop", b"acme-shot")}, "does not name it"),
        ({"requirements": b"acme-shop==1.0.0\n"}, "no hashes for acme-shop"),
        ({"requirements": REQUIREMENTS + b"loose==1\n"}, "no hashes for loose"),
        ({"requirements": b"\xff"}, "cannot be read"),
        ({"pylock": b"= no toml"}, "cannot be read"),
        ({"pylock": b'requires-python = "three"'}, "cannot be read"),
        ({"pylock": b"requires-python = 3"}, "cannot be read"),
        ({"pylock": b"packages = [1]"}, "cannot be read"),
        ({"pylock": b'[[packages]]\nversion = "1"\n'}, "cannot be read"),
        ({"pylock": PYLOCK.replace(b"python_version", b"pithon_version")}, "cannot be read"),
        ({"published": frozenset({THEIRS})}, OURS),
    ],
)
def test_a_lock_that_does_not_hold_is_refused_with_the_way_to_a_new_one(changed: dict[str, bytes], says: str) -> None:
    with pytest.raises(BadLock, match=says) as caught:
        checked(**changed)  # type: ignore[arg-type]
    assert "packaging.lock Acme.Shop==1.0.0" in caught.value.remedy


def test_the_commit_is_the_one_that_the_statement_names() -> None:
    dependencies = [{"uri": "pkg:pypi/hatchling", "digest": {"sha256": "1"}}, {"digest": {"gitCommit": "c0ffee"}}]
    statement = {"predicate": {"buildDefinition": {"resolvedDependencies": dependencies}}}
    assert lock.commit(json.dumps(statement).encode()) == "c0ffee"


@pytest.mark.parametrize("statement", [b"", b"[]", b"{}", b'{"predicate": 1}', b"\xff"])
def test_a_statement_that_names_no_commit_is_no_obstacle(statement: bytes) -> None:
    assert lock.commit(statement) == ""
