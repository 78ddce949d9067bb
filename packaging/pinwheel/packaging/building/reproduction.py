"""Build a commit for a second time in other surroundings, and say what came out otherwise."""

from __future__ import annotations

from pathlib import Path

from pinwheel.packaging.building.assemble import OTHER
from pinwheel.packaging.building.commit import Build, build
from pinwheel.packaging.building.comparison import Difference, compare
from pinwheel.packaging.tools import Tools
from pinwheel.packaging.work import Job


def reproduce(job: Job, tools: Tools, first: Build, folder: Path) -> tuple[Difference, ...]:
    """Build `job` in the empty folder `folder`: on another path than `first`, with another umask and time zone, the
    source's files of other ages. Nothing that differs means reproducible."""
    second = build(job, tools, folder, OTHER)
    made = {each.path.name: each.path for each in second.artifacts}
    found: list[Difference] = []
    for artifact in first.artifacts:
        name = artifact.path.name
        if name not in made:
            found.append(Difference(name, "", "presence", "is only in the first build"))
        else:
            found += compare(name, artifact.path.read_bytes(), made.pop(name).read_bytes())
    found += [Difference(name, "", "presence", "is only in the second build") for name in made]
    return tuple(found)
