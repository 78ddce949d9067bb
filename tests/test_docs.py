"""The docs are run: what a `console` block says is what works.

The blocks of one page are run in order, in one shell, in an empty folder with an empty HOME. A line `$ … &` starts
a server; the next line waits until it says that it serves. Ports are replaced by free ones. Lines below a command are
what it prints, all of it or nothing is shown. A block is left out only with a written reason:
`<!-- not run: REASON -->` on the line before it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"(?P<before>[^\n]*)\n+```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
REASON = re.compile(r"<!-- not run: (\S.{10,}) -->")

PRELUDE = """
set -euo pipefail
trap 'code=$?; kill $(jobs -p) 2>/dev/null || true; wait; exit $code' EXIT
serving() {
  for _ in $(seq 200); do grep -q '^serving ' "$1" && return; sleep 0.1; done
  cat "$1" >&2; exit 1
}
"""


def scripts(page: Path) -> list[str]:
    """The commands of each block that is to be run."""
    found = []
    for block in BLOCK.finditer(page.read_text()):
        if block["before"].startswith("<!--"):
            assert REASON.fullmatch(block["before"].strip()), f"{page.name}: give a reason, not {block['before']!r}"
            continue
        commands: list[tuple[str, list[str]]] = []
        for line in block["body"].splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif commands and commands[-1][0].endswith("\\"):
                commands[-1] = (f"{commands[-1][0]}\n{line}", [])
            elif commands:
                commands[-1][1].append(line)
        assert commands, f"{page.name}: a console block without a command:\n{block['body']}"
        found.append("\n".join(_printing(command, shown) if shown else _server(command) for command, shown in commands))
    return found


def _printing(command: str, shown: list[str]) -> str:
    """The command, in this shell, and a comparison of what it prints with what is shown."""
    return "\n".join((f'{{ {command}\n}} >"$HOME/printed"', "diff -u - \"$HOME/printed\" <<'SHOWN'", *shown, "SHOWN"))


def _on_free_ports(script: str) -> str:
    """`script` with every port that a server of it listens on replaced by one that is free now."""
    for port in sorted(set(re.findall(r"--port (\d+)", script))):
        script = re.sub(rf"\b{port}\b", str(free_port()), script)
    return script


def _server(command: str) -> str:
    if not command.endswith(" &"):
        return command
    return f"{command[:-2]} 2>server.log &\nserving server.log"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if scripts(page)], ids=lambda page: page.stem)
def test_the_console_blocks_of_a_page_work(page: Path, tmp_path: Path) -> None:
    if "$ ssh-keygen" in page.read_text() and shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen (openssh-client)")
    home, place = tmp_path / "home", tmp_path / "place"
    home.mkdir()
    place.mkdir()
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PINWHEEL_", "XDG_"))}
    environ |= {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}",
        "GIT_AUTHOR_NAME": "Docs",
        "GIT_AUTHOR_EMAIL": "docs@acme.example",
        "GIT_COMMITTER_NAME": "Docs",
        "GIT_COMMITTER_EMAIL": "docs@acme.example",
        "PINWHEEL_CHECKOUT": str(ROOT),
    }
    ended = subprocess.run(
        ["bash", "-x", "-c", PRELUDE + _on_free_ports("\n".join(scripts(page)))],
        cwd=place,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


def test_every_decision_has_its_alternatives() -> None:
    for file in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        assert "Alternatives" in file.read_text(), f"{file.name} names no alternatives"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *(ROOT / "docs" / "decisions").glob("*.md")]:
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            found = page.parent / target if target else page
            assert found.exists(), f"{page.name} links to {target}"
            assert not heading or heading in _headings(found), f"{page.name} links to {target}#{heading}"


def _headings(page: Path) -> set[str]:
    """What links call the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.index("python3 tasks.py demo") < text.index("python3 tasks.py test") < 1500
    assert "uv run inv demo" in text
