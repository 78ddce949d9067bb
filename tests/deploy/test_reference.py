"""The reference in docs/deploy.md names every task and flag of deploy, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pinwheel.deploy import commands
from pinwheel.deploy.planning.outcome import Ending

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
OF_ALL = {"env", "json"}
IN_COLUMNS_OF_THEIR_OWN = {"host", "group", "application", "release"}


def told() -> dict[str, tuple[bool, set[str]]]:
    """By task whether it takes --host and --group, and its other flags."""
    rows = re.findall(r"^\| `deploy\.(\w+)([^`]*)` \|[^|]*\| (yes|no) \| (.*) \|$", PAGE, re.MULTILINE)
    return {
        name: (limited == "yes", {*re.findall(r"--([a-z-]+)", flags)} | ({"follow"} if "`-f`" in flags else set()))
        for name, _, limited, flags in rows
    }


def test_the_reference_names_every_task_and_its_flags() -> None:
    tasks = commands.collection().tasks
    found = {}
    for name, one in tasks.items():
        flags = {each.name.replace("_", "-") for each in one.get_arguments()}
        assert flags >= OF_ALL, f"{name} lacks {OF_ALL - flags}"
        more = flags - OF_ALL - IN_COLUMNS_OF_THEIR_OWN
        if "application" in flags and "application" not in one.positional:
            more |= {"application"}
        found[str(name)] = ({"host", "group"} <= flags, more)
    assert told() == found


def test_the_reference_explains_how_a_host_ends() -> None:
    section = PAGE.split("### How a host ends")[1]
    explained = {
        word for row in re.findall(r"^\| ((?:`[a-z-]+`,? ?)+)\|", section, re.MULTILINE) for word in row.split("`")
    }
    assert {*map(str, Ending)} - {"ready", "prepared"} <= explained
