"""Templates in the configuration: `{name}` stands for a value, `{{` and `}}` for braces. Nothing else is special."""

from __future__ import annotations

import difflib
import string
from collections.abc import Mapping

from pinwheel.errors import UsageError


def fill(text: str, values: Mapping[str, str], where: str) -> str:
    """`text` with each `{name}` replaced by `values[name]`; `where` names the key of the configuration.

    Raises `UsageError` for an unknown name, and for braces that name nothing.
    """
    done: list[str] = []
    try:
        for literal, name, form, conversion in string.Formatter().parse(text):
            done.append(literal)
            if name is None:
                continue
            if form or conversion or name not in values:
                raise UsageError(f"unknown variable {{{name}}}", where=where, remedy=_remedy(name, values))
            done.append(values[name])
    except ValueError as error:
        raise UsageError(
            f"a brace stands alone in {text!r}", where=where, remedy="write {{ and }} for braces that are meant"
        ) from error
    return "".join(done)


def _remedy(name: str, values: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, values, n=1)
    meant = f"did you mean {{{near[0]}}}? " if near else ""
    return f"{meant}known here: {', '.join(sorted(values))}; a host's own come from its `variables`"
