"""A lock is two documents that agree, and is stored only when it is new."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version
from tests.packaging.forge import Shelf, Workshop

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexFile
from pinwheel.packaging.locking import lock, lockfile
from pinwheel.packaging.locking.lock import LockContended
from pinwheel.packaging.locking.lockfile import CannotLock
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.targets import targets

PYLOCK = """
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "colorama"
version = "0.4.6"
marker = "sys_platform == 'win32'"
sdist = { url = "http://index.invalid/files/colorama-0.4.6.tar.gz", hashes = { sha256 = "cc" } }
wheels = [{ url = "http://index.invalid/files/colorama-0.4.6-py3-none-any.whl", hashes = { sha256 = "bb" } }]

[[packages]]
name = "acme-shop"
version = "1.0.0"
wheels = [
    { url = "http://index.invalid/files/acme_shop-1.0.0-py2-none-any.whl", hashes = { sha256 = "aa" } },
    { url = "http://index.invalid/files/acme_shop-1.0.0-py3-none-any.whl", hashes = { sha256 = "ab" } },
]
"""


def test_requirements_have_the_pins_markers_and_hashes_of_the_pylock() -> None:
    made = lockfile.from_pylock(PYLOCK)
    assert made.requirements.decode() == (
        "acme-shop==1.0.0 \\\n"
        "    --hash=sha256:aa \\\n"
        "    --hash=sha256:ab\n"
        'colorama==0.4.6 ; sys_platform == "win32" \\\n'
        "    --hash=sha256:bb \\\n"
        "    --hash=sha256:cc\n"
    )
    assert made.pins == (("acme-shop", "1.0.0"), ("colorama", "0.4.6"))


def test_a_lock_without_hashes_is_none() -> None:
    with pytest.raises(CannotLock):
        lockfile.from_pylock(PYLOCK.replace("sha256", "md5"))
    with pytest.raises(CannotLock):
        lockfile.from_pylock("lock-version = ")


def test_the_same_lock_is_stored_once() -> None:
    shelf, made = Shelf(), lockfile.from_pylock(PYLOCK)
    assert lock.store(shelf, "acme-shop", Version("1.0"), made)
    assert not lock.store(shelf, "acme-shop", Version("1.0"), made)
    newer = lockfile.from_pylock(PYLOCK.replace("0.4.6", "0.4.7"))
    assert lock.store(shelf, "acme-shop", Version("1.0"), newer)
    assert lock.store(shelf, "acme-shop", Version("1.0"), made)
    assert shelf.attachment("acme-shop", "1.0", "pylock.toml") == made.pylock


def newest(shelf: Shelf) -> list[bytes | None]:
    return [shelf.attachment("acme-shop", "1.0", name) for name in ("pylock.toml", "requirements.txt")]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("cut_off_before", ["pylock.toml", "requirements.txt"])
def test_locking_again_completes_what_was_cut_off(cut_off_before: str) -> None:
    class Fragile(Shelf):
        def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
            if name == cut_off_before:
                raise Killed
            return Shelf.put_attachment(self, project, version, name, body)

    shelf, old, new = Shelf(), lockfile.from_pylock(PYLOCK), lockfile.from_pylock(PYLOCK.replace("0.4.6", "0.4.7"))
    lock.store(shelf, "acme-shop", Version("1.0"), old)
    with pytest.raises(Killed):
        lock.store(Fragile(papers=shelf.papers), "acme-shop", Version("1.0"), new)
    first = old if cut_off_before == "pylock.toml" else new
    assert newest(shelf) == [first.pylock, old.requirements], "the lock is known by its pylock.toml, which goes first"
    assert lock.store(shelf, "acme-shop", Version("1.0"), new)
    assert newest(shelf) == [new.pylock, new.requirements]
    assert not lock.store(shelf, "acme-shop", Version("1.0"), new)


def test_two_who_lock_at_the_same_time_leave_one_lock() -> None:
    """One is overtaken between its two documents."""
    ours, theirs = lockfile.from_pylock(PYLOCK), lockfile.from_pylock(PYLOCK.replace("0.4.6", "0.4.7"))

    class Contended(Shelf):
        def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
            stored = Shelf.put_attachment(self, project, version, name, body)
            if body == ours.pylock and len(self.papers) == 1:
                lock.store(Shelf(papers=self.papers), project, Version(version), theirs)
            return stored

    shelf = Contended()
    assert lock.store(shelf, "acme-shop", Version("1.0"), ours)
    assert newest(shelf) == [ours.pylock, ours.requirements]


def test_who_is_overtaken_again_and_again_gives_up_and_says_so() -> None:
    class Contended(Shelf):
        def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
            Shelf.put_attachment(self, project, version, name, body)
            return Shelf.put_attachment(self, project, version, name, b"theirs")

    with pytest.raises(LockContended):
        lock.store(Contended(), "acme-shop", Version("1.0"), lockfile.from_pylock(PYLOCK))


def test_two_locks_differ_by_name_in_version_marker_or_files() -> None:
    old = lockfile.from_pylock(PYLOCK)
    extra = '[[packages]]\nname = "wheel"\nversion = "1"\nwheels = [{name = "wheel-1-py3-none-any.whl", '
    extra += 'url = "http://i/wheel-1-py3-none-any.whl", hashes = {sha256 = "dd"}}]\n'

    def told(text: str, *, turned: bool = False) -> list[str]:
        pair = (lockfile.from_pylock(text), old) if turned else (old, lockfile.from_pylock(text))
        return [str(change) for change in lockfile.changes(*pair)]

    assert told(PYLOCK.replace("http://index.invalid", "https://elsewhere.invalid")) == []
    assert told(PYLOCK.replace("0.4.6", "0.4.7")) == ["colorama: 0.4.6 became 0.4.7"]
    assert told(PYLOCK.replace("win32", "cygwin")) == ["colorama: 0.4.6 as before, with other markers"]
    assert told(PYLOCK.replace('"bb"', '"be"')) == ["colorama: 0.4.6 as before, with other files"]
    assert told(PYLOCK + extra) == ["wheel: added 1"]
    assert told(PYLOCK + extra, turned=True) == ["wheel: removed 1"]


def test_a_target_without_a_wheel_is_a_gap() -> None:
    native = "acme_shop-1.0.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    made = lockfile.from_pylock(PYLOCK.replace("acme_shop-1.0.0-py3-none-any.whl", native))
    wanted = targets(["3.13", "3.12"], ["manylinux_2_34_x86_64", "manylinux_2_17_x86_64", "win_amd64"])
    assert [f"{package.name}, {target}" for package, target in lockfile.gaps(made, wanted)] == [
        "acme-shop, Python 3.12 on manylinux_2_17_x86_64",
        "acme-shop, Python 3.12 on win_amd64",
        "acme-shop, Python 3.13 on manylinux_2_34_x86_64",
        "acme-shop, Python 3.13 on manylinux_2_17_x86_64",
        "acme-shop, Python 3.13 on win_amd64",
    ], "and colorama has a wheel for all"


HERE = targets(["3.12"], [])


class Offering(Shelf):
    """An index that offers the files of the lock `text`, without those that have `gone` in their names."""

    text: str = PYLOCK
    gone: str = "nothing"
    yanked: str | None = None

    def files(self, project: str) -> tuple[IndexFile, ...]:
        return tuple(
            IndexFile(filename, f"{self.url}{filename}", sha256, None, package.version, yanked=self.yanked)
            for package in lockfile.from_pylock(self.text).packages
            for filename, sha256 in package.files
            if package.name == project and self.gone not in filename
        )


def test_what_keeps_a_lock_from_being_installed_is_named() -> None:
    index, made = Offering(), lockfile.from_pylock(PYLOCK)
    assert lock.faults(index, made, HERE) == []
    index.gone = "py2"
    assert lock.faults(index, made, HERE) == [], "nobody here needs that wheel"
    index.text = PYLOCK.replace("py2", "py38")
    index.gone = "py38"
    assert lock.faults(index, lockfile.from_pylock(index.text), HERE) == [
        "acme-shop 1.0.0: acme_shop-1.0.0-py38-none-any.whl is no longer offered"
    ]
    index.gone = "acme"
    assert lock.faults(index, made, HERE) == ["acme-shop 1.0.0 is no longer offered"]
    index.gone, index.yanked = "acme", "it loses greetings"
    assert lock.faults(index, made, HERE)[1:] == ["colorama 0.4.6 is yanked: it loses greetings"]
    other = lockfile.from_pylock(PYLOCK.replace('"bb"', '"be"'))
    assert (
        "colorama-0.4.6-py3-none-any.whl is offered with sha256 bb, locked was be" in lock.faults(index, other, HERE)[1]
    )


def test_a_stored_pair_of_two_locks_is_an_error() -> None:
    shelf, made = Shelf(), lockfile.from_pylock(PYLOCK)
    assert lock.stored(shelf, "acme-shop", Version("1.0")) is None
    lock.store(shelf, "acme-shop", Version("1.0"), made)
    assert lock.stored(shelf, "acme-shop", Version("1.0")) == made
    shelf.put_attachment("acme-shop", "1.0", "requirements.txt", b"acme-shop==0.9\n")
    with pytest.raises(CannotLock):
        lock.stored(shelf, "acme-shop", Version("1.0"))


@pytest.mark.parametrize("text", ["acme-shop", "acme-shop>=1", "acme-shop==1,==2", "==1", "a b", "a[x]==1", "a==1.*"])
def test_a_pin_is_a_name_and_a_version(text: str) -> None:
    with pytest.raises(UsageError):
        lock.parse_pin(text)


def test_a_pin_is_normalised() -> None:
    assert lock.parse_pin("Acme_Shop==1.0") == ("acme-shop", Version("1.0"))


def test_a_version_that_is_not_released_is_answered_with_those_that_are() -> None:
    shelf = Shelf()
    with pytest.raises(PinwheelError) as caught:
        lock.check_released(shelf, "acme", Version("1.0"))
    assert "packaging.release" in caught.value.remedy
    assert caught.value.exit_code == 1  # as deploying says it of the same version
    shelf.blobs["acme", "acme-1.1.tar.gz"] = b""
    with pytest.raises(PinwheelError) as caught:
        lock.check_released(shelf, "acme", Version("1.0"))
    assert "1.1" in caught.value.remedy
    lock.check_released(shelf, "acme", Version("1.1.0"))


def test_uv_is_asked_for_one_index_and_its_credential_is_in_no_address() -> None:
    environ = {"PATH": "/bin", "UV_EXTRA_INDEX_URL": "http://decoy", "PIP_FIND_LINKS": "/decoy", "SECRET": "x"}
    resolver = Resolver("http://index.invalid/simple/", "t0ken", "", Path("/c"), environ)
    variables = resolver.variables()
    assert variables["UV_DEFAULT_INDEX"] == "pinwheel=http://index.invalid/simple/"
    assert [name for name, value in variables.items() if "t0ken" in value] == ["UV_INDEX_PINWHEEL_PASSWORD"]
    assert not {"UV_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "SECRET"} & variables.keys()
    assert "t0ken" not in repr(resolver)


def test_third_parties_are_locked_with_markers_from_the_index_alone(workshop: Workshop) -> None:
    made = lock.resolve(workshop.tools.resolver, "click==8.1.7\n", targets(["3.11"], []))
    assert ("click", "8.1.7") in made.pins
    assert "colorama==" in made.requirements.decode()
    assert "click==8.1.7 \\\n    --hash=sha256:" in made.requirements.decode()


def test_what_cannot_be_resolved_is_said_in_the_resolvers_words(workshop: Workshop) -> None:
    with pytest.raises(CannotLock) as caught:
        lock.resolve(workshop.tools.resolver, "click==0.0.0.1\n", targets(["3.11"], []))
    assert "0.0.0.1" in caught.value.problem
