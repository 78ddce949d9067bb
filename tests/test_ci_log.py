"""What a job's log says to its CI system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pinwheel import ci_log, console

PINWHEEL = (sys.executable, "-P", "-m", "pinwheel")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)


def test_each_system_has_its_groups() -> None:
    assert ci_log.opening("github", "build a\nb", 7.0) == "::group::build a%0Ab"
    assert ci_log.closing("github", "build", 7.0) == "::endgroup::"
    assert ci_log.opening("gitlab", "Build acme", 7.4) == "\x1b[0Ksection_start:7:build_acme\r\x1b[0KBuild acme"
    assert ci_log.closing("gitlab", "Build acme", 9.0) == "\x1b[0Ksection_end:9:build_acme\r\x1b[0K"


def test_an_annotation_cannot_become_another_command() -> None:
    line = ci_log.annotation("github", "error", "100%\n::warning::x", "a:b,c.py")
    assert line == "::error file=a%3Ab%2Cc.py::100%25%0A::warning::x"
    assert ci_log.annotation("gitlab", "error", "x") == ""


def test_a_summary_has_no_markup_of_what_it_tells_of() -> None:
    assert ci_log.markdown(("a",), [("<b>|x\ny",)], "T") == "### T\n\n| a |\n| --- |\n| \\<b\\>\\|x y |\n\n"


def test_without_a_ci_system_nothing_is_added(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with console.group("quiet"):
        console.annotate("error", "x")
        console.table(("a",), [("b",)])
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out == "a\nb\n"


def test_a_table_is_in_the_summary_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    with console.group("build"):
        console.table(("project",), [("acme",)])
    assert (tmp_path / "summary.md").read_text() == "| project |\n| --- |\n| acme |\n\n"
    assert capsys.readouterr().err == "::group::build\n::endgroup::\n"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "absent" / "summary.md"))
    console.table(("project",), [("acme",)])


def test_an_error_of_a_task_is_an_annotation(tmp_path: Path) -> None:
    """And the JSON on stdout stays JSON."""
    environ = {**os.environ, "GITHUB_ACTIONS": "true", "PINWHEEL_INDEX_URL": "http://127.0.0.1:9/"}
    done = subprocess.run(
        (*PINWHEEL, "packaging.lock", "acme", "--json"),
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "::error::'acme' names no version of an application%0A" in done.stderr
    assert "error" in json.loads(done.stdout)
