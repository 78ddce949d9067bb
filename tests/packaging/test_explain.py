"""What depends on a version, and which channels show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinwheel.index.client import IndexFile, Release
from pinwheel.packaging.proving.explain import Dependent, channels, dependents


@dataclass
class Catalogue:
    """An index of metadata: by filename, what the file requires."""

    requires: dict[str, tuple[str, ...]]
    yanked: tuple[str, ...] = ()
    shown: tuple[Release, ...] = ()
    asked: list[str] = field(default_factory=list)

    def projects(self) -> tuple[str, ...]:
        return tuple(sorted({name.split("-")[0] for name in self.requires}))

    def own_files(self, project: str) -> tuple[IndexFile, ...]:
        return tuple(
            IndexFile(name, "", "0", 1, name.split("-")[1], "0", yanked="bad" if name in self.yanked else None)
            for name in self.requires
            if name.split("-")[0] == project
        )

    def metadata(self, file: IndexFile) -> bytes:
        self.asked.append(file.filename)
        needs = "".join(f"Requires-Dist: {each}\n" for each in self.requires[file.filename])
        return f"Metadata-Version: 2.1\nName: x\nVersion: 1\n{needs}".encode()

    def releases(self, project: str) -> tuple[Release, ...]:
        return self.shown


def test_the_newest_version_of_each_project_tells_whether_it_needs_another() -> None:
    index = Catalogue(
        {
            "greet-1.0-": (),
            "shop-1.0-": ("greet<2",),
            "shop-1.1-": ("Greet[x]>=1; python_version > '3'", "other"),
            "shop-2.0rc1-": (),
            "old-3.0-": ("greet<1",),
            "left-1.0-": ("greet",),
            "left-2.0-": ("other", "!nonsense"),
            "pulled-1.0-": ("greet",),
            "pulled-1.1-": (),
            "early-1.0rc1-": ("greet",),
        },
        yanked=("pulled-1.1-",),
    )
    assert dependents(index, "greet", "1.0") == [
        Dependent("early", "1.0rc1", "greet", fits=True),
        Dependent("old", "3.0", "greet<1", fits=False),
        Dependent("pulled", "1.0", "greet", fits=True),
        Dependent("shop", "1.1", "Greet[x]>=1; python_version > '3'", fits=True),
    ]
    assert not any(name.startswith("greet") for name in index.asked)


def test_the_channels_are_those_of_the_version_however_it_is_spelled() -> None:
    index = Catalogue({}, shown=(Release("1.0", None, ("main", "prod"), ()), Release("1.1", None, ("main",), ())))
    assert channels(index, "greet", "1.0.0") == ("main", "prod")
    assert channels(index, "greet", "2.0") == ()
