"""What CI systems read in the output of a job: groups that fold, annotations, a summary. Text only, no I/O here.

GitHub's workflow commands and summary:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
GitLab's sections: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

System = Literal["github", "gitlab", ""]
Level = Literal["error", "warning"]


def system(environ: Mapping[str, str]) -> System:
    """The CI system that these variables are from; empty for none that is known."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "gitlab" if environ.get("GITLAB_CI") == "true" else ""


def opening(of: System, title: str, now_s: float) -> str:
    """The line that begins a group; empty where there are none. `now_s` counts from 1970."""
    if of == "github":
        return f"::group::{_escaped(title)}"
    return f"\x1b[0Ksection_start:{now_s:.0f}:{_section(title)}\r\x1b[0K{title}" if of == "gitlab" else ""


def closing(of: System, title: str, now_s: float) -> str:
    """The line that ends it."""
    if of == "github":
        return "::endgroup::"
    return f"\x1b[0Ksection_end:{now_s:.0f}:{_section(title)}\r\x1b[0K" if of == "gitlab" else ""


def annotation(of: System, level: Level, text: str, file: str = "") -> str:
    """The line that shows `text` with the change; empty where there are none."""
    if of != "github":
        return ""
    where = f" file={_escaped(file).replace(':', '%3A').replace(',', '%2C')}" if file else ""
    return f"::{level}{where}::{_escaped(text)}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table of a job's summary."""
    lines = [columns, ["---"] * len(columns), *rows]
    table = "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)
    return (f"### {title}\n\n" if title else "") + table + "\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _section(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "section"


def _cell(text: str) -> str:
    # what a package says of itself stands there: no markup of its own
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(text.split()))
