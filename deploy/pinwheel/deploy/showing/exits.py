"""What became of a command on hosts, for scripts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pinwheel.deploy.planning.outcome import Outcome


def document(exits: Mapping[str, int | Outcome], env: str, application: str, words: Sequence[str]) -> dict[str, Any]:
    hosts = [
        {"name": name, "exit": None, "reason": each.reason, "remedy": each.remedy}
        if isinstance(each, Outcome)
        else {"name": name, "exit": each, "reason": "", "remedy": ""}
        for name, each in exits.items()
    ]
    return {"environment": env, "application": application, "command": list(words), "hosts": hosts}
