"""docs/runner.md has every message between controller and host, and no other; on-the-host.md, what is journalled."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.deploy.simulated import target

from pinwheel.deploy.host import bundle, runner
from pinwheel.deploy.planning import steps

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "runner.md").read_text()
SOURCES = {file.stem: ast.parse(file.read_text()) for file in Path(runner.__file__).parent.glob("*.py")}
NOT_SENT = {"__init__", "bundle", "launcher"}


def section(title: str, page: str = PAGE) -> str:
    """The text below a heading, up to the next of its kind."""
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,3}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[2]


def first_column(table: str) -> set[str]:
    """The words in the first column of a table, those between backticks."""
    return {word for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for word in re.findall(r"`([^`]+)`", row)}


def said(function: str) -> set[str]:
    """Every text that is the first argument of a call of `function` in what is sent to hosts."""
    found = set()
    for tree in SOURCES.values():
        for call in ast.walk(tree):
            name = getattr(call, "func", None)
            if isinstance(call, ast.Call) and getattr(name, "id", getattr(name, "attr", "")) == function and call.args:
                found |= set(texts(call.args[0]))
    return found


def texts(expression: ast.expr) -> Iterator[str]:
    """The texts that an expression may become."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        yield expression.value
    elif isinstance(expression, ast.IfExp):
        yield from texts(expression.body)
        yield from texts(expression.orelse)


def test_every_answer_is_explained() -> None:
    assert {"hello", "heartbeat", "result"} <= said("send")
    assert first_column(section("The answers").partition("\n| code |")[0]) == said("send")


def test_every_error_is_explained() -> None:
    of_the_system = {"no-space", "not-permitted", "unexpected"}
    assert {"fenced", "moved"} <= said("Refusal")
    assert first_column(section("The answers").partition("\n| code |")[2]) == said("Refusal") | of_the_system


def test_every_action_is_explained() -> None:
    named = {
        name for title in re.findall(r"^### (.*)$", section_of_actions(), re.MULTILINE) for name in title.split(", ")
    }
    assert named == set(bundle.ERRANDS)


def section_of_actions() -> str:
    return PAGE.partition("## The actions")[2].partition("## The launcher")[0]


def test_every_file_that_is_sent_is_named_with_the_actions_that_need_it() -> None:
    needed = {
        f"{name}.py": [action for action, errands in bundle.ERRANDS.items() if name in (*bundle.TRANSACTION, *errands)]
        for name in SOURCES.keys() - NOT_SENT
    }
    rows = re.findall(r"^\| `(\w+\.py)` \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    every = sorted(bundle.ERRANDS)
    told = {name: every if who == "every action" else sorted(re.findall(r"`(\w+)`", who)) for name, who in rows}
    assert told == {name: sorted(actions) for name, actions in needed.items()}


@pytest.mark.parametrize("kind", get_args(steps.Step), ids=lambda kind: kind.__name__)
def test_every_field_of_a_request_is_explained_with_its_action(kind: type[steps.Step]) -> None:
    example = re.search(r"```json\n(.*?)```", section("The request"), re.DOTALL)
    assert example
    given: dict[str, Any] = {each.name: {} if each.name == "colours" else "" for each in dataclasses.fields(kind)}
    made = kind(**given)
    request = steps.request(made, target("h1", port="1"), environment="", rollout="", fence=None)
    whole = json.loads(example[1])
    assert request.keys() == whole.keys()
    assert request["layout"].keys() == whole["layout"].keys()
    of = {"survey": ["survey", "bootstrap"], "weigh": ["weigh, prune"], "prune": ["weigh, prune"]}
    explained = "".join(section(each) for each in of.get(kind.action, [kind.action]))
    assert [key for key in request["body"] if f"`{key}`" not in explained] == []


def test_every_record_of_the_journal_is_explained() -> None:
    table = section("The journal", (DOCS / "on-the-host.md").read_text()).partition("\n| event |")[2]
    outcomes = {"reverted", "revert-unhealthy", "removed"}
    assert first_column(re.sub(r"^\|(.*?)\|.*$", r"|\1|", table, flags=re.MULTILINE)) == said("record") | outcomes
