"""The CI configuration of a repository: our templates, with what `pinwheel.toml` says of it filled in.

In a template a value stands on the line after a comment `# rendered: WHAT`; as they are, the templates work too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pinwheel.config import Loaded
from pinwheel.errors import UsageError
from pinwheel.packaging.targets import oldest_first

SYSTEMS = {
    "github": ("github-actions.yml", ".github/workflows/pinwheel.yml"),
    "gitlab": ("gitlab-ci.yml", ".gitlab-ci.yml"),
}
"""Each CI system's template, and where its configuration lies in a repository."""

RENDERED = re.compile(r"^(?P<above> *# rendered: (?P<what>\w+)\n)(?P<key> *(?:- )?[\w-]+:) .*$", re.MULTILINE)


def render(system: str, loaded: Loaded, name: str = "") -> str:
    """The configuration for the repository of the project `name`, or for one with a project at its top.

    Raises `UsageError`.
    """
    if system not in SYSTEMS:
        raise UsageError(f"there is no template for {system!r}", remedy=f"one of {', '.join(SYSTEMS)}")
    template = (files("pinwheel") / SYSTEMS[system][0]).read_text()
    values = _values(loaded, name)

    def filled(found: re.Match[str]) -> str:
        value = values.get(found["what"])
        return found[0] if value is None else f"{found['above']}{found['key']} {json.dumps(value)}"

    return RENDERED.sub(filled, template)


def write(system: str, text: str, out: str, *, force: bool) -> tuple[Path, bool]:
    """Write the configuration into the repository `out`: where to, and whether it was not there before.

    Raises `UsageError` for a file that says something else, unless `force`.
    """
    if not Path(out).is_dir():
        raise UsageError("there is no such folder", where=out, remedy="--out names the repository's top folder")
    file = Path(out) / SYSTEMS[system][1]
    if file.exists():
        if file.read_text(errors="replace") == text:
            return file, False
        if not force:
            raise UsageError(
                "there is a file that says something else",
                where=str(file),
                remedy=f"compare it with `pinwheel ci.render {system}`, and write over it with --force",
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file, True


def _values(loaded: Loaded, name: str) -> Mapping[str, object]:
    """What is filled in, by what templates call it; what is not there keeps the template's own value."""
    packaging, project = loaded.config.packaging, loaded.config.projects.get(name)
    if name and project is None:
        raise UsageError(
            f"{name} is no project of pinwheel.toml",
            where=loaded.place("projects"),
            remedy=f"one of {', '.join(sorted(loaded.config.projects)) or 'none yet'}",
        )
    own = project.pythons if project else ()
    pythons = oldest_first(own or packaging.served, loaded.place("packaging.pythons"))
    subdirectory = project.subdirectory if project else ""
    values: dict[str, object] = {
        "pythons": pythons,
        "every": "\n".join(pythons),  # as actions/setup-python takes several; the last is the one called `python`
        "image": f"python:{pythons[-1]}",
        "subdirectory": subdirectory,
    }
    if loaded.config.index.url:
        values["index"] = f"{loaded.config.index.url.rstrip('/')}/"
    if subdirectory:  # a repository of several projects has a tag for each
        values |= {"tags": [f"{name}-*"], "tag": f"$CI_COMMIT_TAG =~ /^{re.escape(name)}-v?[0-9]/"}
    return values
