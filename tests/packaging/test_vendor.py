"""What third parties made becomes ours: wheels as they are, the rest built from sdists, and nobody is asked again."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.index.making import Made, wheel
from tests.index.running import Upstream, upstream
from tests.packaging.forge import Repository, Shelf, Workshop, tiny_files
from tests.packaging.running import RunningIndex

from pinwheel.errors import UsageError
from pinwheel.index.client import IndexClient, IndexFile
from pinwheel.packaging import statement
from pinwheel.packaging.locking import closure, lockfile, vendored
from pinwheel.packaging.locking.vendor import CannotVendor, From, vendor
from pinwheel.packaging.locking.vendored import BuiltHere, Vendored
from pinwheel.packaging.publishing.publish import Answer
from pinwheel.packaging.statement import Dependency, Provenance
from pinwheel.packaging.targets import targets

MakeRepository = Callable[[str], Repository]

TAKEN = Vendored(
    "third-wheel", "1.0.0", "third_wheel-1.0.0-py3-none-any.whl", "aa", "https://i.invalid/",
    "third_wheel-1.0.0-py3-none-any.whl", "aa", "0.1.0", "2026-01-02T03:04:05+00:00",
)  # fmt: skip
MADE_HERE = BuiltHere(7, "3.12.1", "1", "none", (Dependency("wheel", "1", "cc"), Dependency("pip", "2")))
BUILT = replace(TAKEN, source="third_wheel-1.0.0.tar.gz", source_sha256="bb", built=MADE_HERE)


def packed(name: str, version: str = "1.0.0", needs: tuple[str, ...] = ()) -> Made:
    """An sdist that builds without a network."""
    files = tiny_files(name, version, needs=needs)
    files["PKG-INFO"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    top, out = f"{name.replace('-', '_')}-{version}", io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size, member.mtime = len(text.encode()), 1_700_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
    return Made(name, version, f"{top}.tar.gz", out.getvalue())


class Elsewhere(Shelf):
    """Another index, in memory: everything that lies in it is offered."""

    def offer(self, *made: Made) -> Elsewhere:
        self.blobs |= {(each.project, each.filename): each.content for each in made}
        return self

    def files(self, project: str) -> tuple[IndexFile, ...]:
        return self.own_files(project)

    def metadata(self, file: IndexFile) -> bytes:
        raise AssertionError("it says of no file that it has its metadata")


def locked(*made: Made) -> lockfile.Lock:
    text = 'lock-version = "1.0"\ncreated-by = "uv"\n'
    for each in made:
        text += f'[[packages]]\nname = "{each.project}"\nversion = "{each.version}"\nwheels = [{{ '
        text += f'url = "http://i.invalid/{each.filename}", hashes = {{ sha256 = "{each.sha256}" }} }}]\n'
    return lockfile.from_pylock(text)


HERE = targets(["3.12"], [])


@pytest.mark.parametrize("about", [TAKEN, BUILT])
def test_a_statement_says_what_a_file_was_made_of(about: Vendored) -> None:
    assert vendored.read(vendored.write(about)) == about
    told = dict(vendored.facts(about))["built"]
    assert ("not from git" in told) is (about.built is not None)


def test_a_statement_of_our_own_build_is_none_of_vendoring() -> None:
    ours = statement.Statement("a-1-py3-none-any.whl", "aa", Provenance("/r", "v1", "c0ffee"))
    with pytest.raises(ValueError, match="vendoring"):
        vendored.read(statement.write(ours))
    with pytest.raises(ValueError, match="pinwheel"):
        statement.read(vendored.write(BUILT))


def test_a_lock_is_vendored_file_by_file_and_only_once(workshop: Workshop) -> None:
    one, two = wheel("third-wheel"), wheel("third-other")
    source = From(Elsewhere("http://elsewhere.invalid/").offer(one, two), workshop.tools.resolver)
    done = vendor(locked(one, two), source, HERE, workshop.tools)
    assert [(each.filename, each.outcome) for each in done] == [
        (two.filename, "published"),
        (one.filename, "published"),
    ]
    paper = workshop.shelf.attachment("third-wheel", "1.0.0", f"{one.filename}.statement.json")
    assert paper is not None
    assert vendored.read(paper).index == "http://elsewhere.invalid/"
    assert [kind for kind, *_ in workshop.notebook.entries] == ["vendored", "vendored"]
    again = vendor(locked(one, two), source, HERE, workshop.tools)
    assert [each.outcome for each in again] == ["already there", "already there"]
    assert len(workshop.shelf.uploads) == 2


def test_what_was_cut_off_is_completed_without_the_source(workshop: Workshop) -> None:
    """The first upload makes a name private: an upstream would not be asked for the rest of it."""

    class CutOff(Exception):
        pass

    class Fragile(Shelf):
        def upload(self, path: Path) -> Answer:
            if self.uploads:
                raise CutOff
            return Shelf.upload(self, path)

    one, two = wheel("third-wheel"), wheel("third-other")
    shelf = workshop.shelf = Fragile()
    with pytest.raises(CutOff):
        vendor(locked(one, two), From(Elsewhere().offer(one, two), workshop.tools.resolver), HERE, workshop.tools)
    assert len(shelf.blobs) == 1
    workshop.shelf = Shelf(blobs=shelf.blobs, papers=shelf.papers)
    done = vendor(locked(one, two), From(Elsewhere(), workshop.tools.resolver), HERE, workshop.tools)
    assert {each.filename for each in done} == {one.filename, two.filename}
    assert len(workshop.shelf.blobs) == 2
    assert len(workshop.shelf.papers) == 2


def test_nothing_is_uploaded_when_one_file_is_not_as_it_was_locked(workshop: Workshop) -> None:
    one, two = wheel("third-wheel"), wheel("third-other")
    offered = Elsewhere().offer(one, wheel("third-other", code="other = 1"))
    with pytest.raises(CannotVendor) as caught:
        vendor(locked(one, two), From(offered, workshop.tools.resolver), HERE, workshop.tools)
    assert two.sha256 in caught.value.problem
    assert workshop.shelf.uploads == []


def test_a_lock_that_lacks_a_wheel_for_a_target_is_not_vendored(workshop: Workshop) -> None:
    native = replace(wheel("third-wheel"), filename="third_wheel-1.0.0-cp312-cp312-win_amd64.whl")
    with pytest.raises(CannotVendor, match=r"third-wheel 1\.0\.0 for Python 3\.13"):
        vendor(
            locked(native), From(Elsewhere(), workshop.tools.resolver), targets(["3.12", "3.13"], []), workshop.tools
        )


def test_a_foreign_index_hears_no_name_of_ours(workshop: Workshop) -> None:
    ours = wheel("acme-greet")

    class Deaf(Elsewhere):
        def files(self, project: str) -> tuple[IndexFile, ...]:
            raise AssertionError(project)

    source = From(Deaf(), workshop.tools.resolver, foreign=True, private=lambda name: name.startswith("acme-"))
    for wanted in (locked(ours), [Requirement("Acme_Greet")]):
        with pytest.raises(CannotVendor):
            vendor(wanted, source, HERE, workshop.tools)
    # and one that we make is asked for nowhere, whatever it is called
    workshop.shelf.blobs["sauce", "sauce-1.0.tar.gz"] = b""
    with pytest.raises(CannotVendor):
        vendor(locked(wheel("sauce")), From(Deaf(), workshop.tools.resolver), HERE, workshop.tools)


def test_only_what_has_no_wheel_is_built(workshop: Workshop) -> None:
    built: list[str] = []

    def build(name: str, sdist: IndexFile) -> Path:
        built.append(f"{name} {sdist.version}")
        made = wheel(name, sdist.version, requires=["deeper"])
        path = workshop.folder / made.filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made.content)
        return path

    source = Elsewhere().offer(
        wheel("top", requires=["bare>=2,<4", "windows; sys_platform == 'win32'", "extra; extra == 'fast'", "gone"]),
        *(packed("bare", version) for version in ("1.0", "3.0", "4.0")),
        *(packed(name) for name in ("deeper", "windows", "extra")),
        wheel("old", "1.0"),
        packed("old", "2.0"),
    )
    linux = targets(["3.12"], ["manylinux_2_28_x86_64"])
    closure.build_missing([Requirement("top"), Requirement("old")], source, linux, build)
    assert built == ["bare 3.0", "deeper 1.0.0"]


def test_requirements_are_names_and_versions() -> None:
    text = "# third parties\nrequests>=2 # why\n\nclick==8.1.7 ; python_version < '4' \\\n    --hash=sha256:aa\n"
    assert [str(each) for each in closure.requirements(text, "f")] == [
        "requests>=2",
        'click==8.1.7; python_version < "4"',
    ]
    for wrong in ("-r other.txt", "a @ https://acme.example/a.whl", "# nothing"):
        with pytest.raises(UsageError):
            closure.requirements(wrong, "f")


@pytest.fixture
def third_parties() -> Iterator[Upstream]:
    """One has a wheel, and needs another that has an sdist only."""
    with upstream() as public:
        public.add(wheel("third-wheel", requires=["third-sdist"]), packed("third-sdist"))
        yield public


@pytest.mark.slow
def test_after_vendoring_no_upstream_is_needed(
    third_parties: Upstream, tmp_path: Path, make_repository: MakeRepository
) -> None:
    home = tmp_path / "home"
    (tmp_path / "index").mkdir()
    remote = make_repository("shop")
    remote.commit(tiny_files("acme-shop", needs=("third-wheel",)), "v1.0.0")
    index = RunningIndex(tmp_path / "index", third_parties.url)
    try:
        index.start()
        index.document(home, "packaging.release", "--repo", remote.address)
        assert index.run(home, "packaging.lock", "acme-shop==1.0.0").returncode == 1, "one has no wheel"

        done = index.document(home, "packaging.vendor", "acme-shop==1.0.0")["vendored"]
        assert [(each["filename"], each["outcome"], each["built_from"]) for each in done] == [
            ("acme_shop-1.0.0-py3-none-any.whl", "already there", ""),
            ("third_sdist-1.0.0-py3-none-any.whl", "published", "third_sdist-1.0.0.tar.gz"),
            ("third_sdist-1.0.0.tar.gz", "published", ""),
            ("third_wheel-1.0.0-py3-none-any.whl", "published", ""),
        ]
        again = index.document(home, "packaging.vendor", "acme-shop==1.0.0")["vendored"]
        assert {each["outcome"] for each in again} == {"already there"}
        explained = index.run(home, "packaging.explain", "third-sdist==1.0.0").stdout
        assert "here, from third_sdist-1.0.0.tar.gz with sha256" in explained

        asked = len(third_parties.requests)
        index.leave_upstream()
        assert index.document(home, "packaging.lock", "acme-shop==1.0.0")["lock"]["outcome"] == "locked"
        simple = IndexClient(index.url, index.token).credentialed_simple_url()
        site = tmp_path / "site"
        words = (sys.executable, "-P", "-m", "pip", "install", "--quiet", "--target", str(site), "acme-shop")
        environ = index.environ(home) | {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": simple}
        environ.pop("PIP_FIND_LINKS", None)
        subprocess.run(words, env=environ, check=True)
        subprocess.run((sys.executable, "-c", "import third_sdist, third_wheel"), cwd=site, check=True)
        assert len(third_parties.requests) == asked
    finally:
        index.stop()


@pytest.mark.slow
def test_a_newer_version_comes_from_an_index_that_is_named(third_parties: Upstream, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "third.txt").write_text("third-wheel\n")
    (tmp_path / "ours").mkdir()
    (tmp_path / "staging").mkdir()
    ours, staging = (
        RunningIndex(tmp_path / "ours", third_parties.url),
        RunningIndex(tmp_path / "staging", third_parties.url),
    )
    try:
        ours.start()
        staging.open_to_all()
        vendoring = ("packaging.vendor", "third.txt")
        ours.document(home, *vendoring)
        third_parties.add(wheel("third-wheel", "2.0.0"))
        assert {each["version"] for each in ours.document(home, *vendoring)["vendored"]} == {"1.0.0"}, "it is ours now"
        newer = ours.document(home, *vendoring, "--from", staging.url)["vendored"]
        assert [(each["version"], each["outcome"]) for each in newer] == [("2.0.0", "published")]
        (home / "third.txt").write_text("acme-greet\n")
        (home / "pinwheel.toml").write_text('[index]\nprivate = ["acme-*"]\n')
        refused = ours.run(home, *vendoring, "--from", staging.url)
        assert refused.returncode == 1
        assert "must not hear of it" in refused.stderr
    finally:
        staging.stop()
        ours.stop()
