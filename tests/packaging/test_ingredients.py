"""A statement names the very wheels that a build environment was installed from, and uv installs no other bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.index.making import wheel
from tests.index.running import Upstream, upstream
from tests.packaging.forge import Repository, Workshop, tiny_files

from pinwheel import process
from pinwheel.packaging.building.assemble import BuildFailed
from pinwheel.packaging.building.commit import Build, build
from pinwheel.packaging.building.ingredients import read
from pinwheel.packaging.releasing.survey import resolve as survey
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.statement import Dependency
from pinwheel.packaging.work import Wanted
from pinwheel.packaging.workspace import below

MakeRepository = Callable[[str], Repository]

MANYLINUX = "third_c-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
TAGS = "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux2014_x86_64\nTag: cp311-cp311-manylinux_2_17_x86_64\n"

MORE = """
def get_requires_for_build_wheel(config_settings=None):
    return ["third-more"]

def get_requires_for_build_sdist(config_settings=None):
    return SDIST_NEEDS
"""


def locked(*filenames: str) -> str:
    """A lock of one distribution; the sha256 of each wheel begins with its place."""
    wheels = ", ".join(
        f'{{ url = "https://i.invalid/{name}", hashes = {{ sha256 = "{place}abc" }} }}'
        for place, name in enumerate(filenames)
    )
    return (
        'lock-version = "1.0"\ncreated-by = "uv"\n'
        f'[[packages]]\nname = "third-c"\nversion = "1.0"\nwheels = [{wheels}]\n'
    )


def test_of_one_wheel_nothing_is_asked() -> None:
    lock = read(locked("third_c-1.0-py3-none-any.whl"))
    assert lock.dependency("Third_C", "1.0.0", "") == Dependency("third-c", "1.0.0", "0abc")


def test_of_several_wheels_it_is_the_one_whose_tags_are_installed() -> None:
    lock = read(locked("third_c-1.0-py3-none-any.whl", MANYLINUX))
    assert lock.dependency("third-c", "1.0", TAGS).sha256 == "1abc"
    assert lock.dependency("third-c", "1.0", "Tag: py3-none-any\n").sha256 == "0abc"


def test_of_several_builds_it_is_the_newest() -> None:
    lock = read(locked(*(f"third_c-1.0{build}-py3-none-any.whl" for build in ("-2", "-10", ""))))
    assert lock.dependency("third-c", "1.0", "Tag: py3-none-any\n").sha256 == "1abc"


@pytest.mark.parametrize(
    ("name", "version", "tags"),
    [("third-d", "1.0", ""), ("third-c", "2.0", ""), ("third-c", "1.0", "Tag: py2-none-any\n")],
)
def test_what_the_lock_does_not_tell_is_not_guessed(name: str, version: str, tags: str) -> None:
    lock = read(locked("third_c-1.0-py3-none-any.whl", MANYLINUX))
    assert lock.dependency(name, version, tags) == Dependency(name, version, "")


PLUGIN, MORE_WHEEL, ONCE = wheel("third-plugin"), wheel("third-more"), wheel("third-once")


@pytest.fixture
def third_parties() -> Iterator[Upstream]:
    with upstream() as public:
        public.add(PLUGIN, MORE_WHEEL, ONCE)
        yield public


def built(
    workshop: Workshop,
    remote: Repository,
    third_parties: Upstream,
    sdist_needs: tuple[str, ...] = (),
    resolver: type[Resolver] = Resolver,
) -> Build:
    """Build a project that needs one distribution anyway, another for its wheel, and `sdist_needs`."""
    files = tiny_files("acme-tiny", backend=MORE.replace("SDIST_NEEDS", repr(list(sdist_needs))))
    files["pyproject.toml"] = files["pyproject.toml"].replace("requires = []", 'requires = ["third-plugin"]')
    remote.commit(files, "v1.0.0")
    tools = replace(workshop.tools, resolver=resolver(third_parties.url, "", "", workshop.folder / "uv"))
    (job,), _failures = survey([Wanted(remote.address, name="acme-tiny")], tools)
    return build(job, tools, below(workshop.folder, "build"))


def ingredients(made: Build) -> list[dict[str, str]]:
    """Of each file, the sha256 of its build environment's distributions."""
    return [
        {each.name: each.sha256 for each in artifact.provenance.dependencies}
        for artifact in made.artifacts
        if artifact.provenance
    ]


def test_what_a_backend_asks_for_later_is_named_too(
    workshop: Workshop, make_repository: MakeRepository, third_parties: Upstream
) -> None:
    sdist, pure = ingredients(built(workshop, make_repository("tiny"), third_parties))
    assert sdist == {"third-plugin": PLUGIN.sha256}
    assert pure == {"third-plugin": PLUGIN.sha256, "third-more": MORE_WHEEL.sha256}


def test_what_the_sdist_alone_needs_is_not_there_for_the_wheel(
    workshop: Workshop, make_repository: MakeRepository, third_parties: Upstream
) -> None:
    sdist, pure = ingredients(built(workshop, make_repository("tiny"), third_parties, ("third-once",)))
    assert sdist == {"third-plugin": PLUGIN.sha256, "third-once": ONCE.sha256}
    assert pure == {"third-plugin": PLUGIN.sha256, "third-more": MORE_WHEEL.sha256}


class Swapped(Resolver):
    """uv with an index that has other bytes by the time at which they are installed."""

    def run(self, words: Sequence[str], *, cwd: Path, log: Path | None = None, stdin: str = "") -> process.Completed:
        done = super().run(words, cwd=cwd, log=log, stdin=stdin)
        if "compile" in words:
            lock = Path(words[words.index("--output-file") + 1])
            lock.write_text(lock.read_text().replace(PLUGIN.sha256, "0" * 64))
        return done


def test_other_bytes_than_were_locked_are_not_installed(
    workshop: Workshop, make_repository: MakeRepository, third_parties: Upstream
) -> None:
    with pytest.raises(BuildFailed, match=rf"(?s)third.plugin.*{'0' * 64}.*{PLUGIN.sha256}"):
        built(workshop, make_repository("tiny"), third_parties, resolver=Swapped)
