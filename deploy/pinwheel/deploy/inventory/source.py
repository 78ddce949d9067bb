"""Hosts that a command knows: it prints the environment's inventory as JSON, and is run once for each task."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from pinwheel import config, process
from pinwheel.config import Environment
from pinwheel.errors import PinwheelError, UsageError

PATIENCE_S = 60.0

WITHHELD = ("PINWHEEL_TOKEN",)
"""The index's credential is none of the command's business."""


class InventoryFailed(PinwheelError):
    """The command does not tell which hosts there are."""


def filled(
    name: str,
    environment: Environment,
    folder: Path,
    said: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Environment:
    """The environment called `name` with the hosts, groups and variables that its command printed, if it has one.

    It runs in `folder`, with PINWHEEL_ENVIRONMENT set to `name`; what it writes on stderr goes to `said`. Its variables
    stand in the place of those of the same name in the configuration. Raises `UsageError`, `InventoryFailed`.
    """
    argv = environment.inventory
    if not argv:
        return environment
    where = f"environments.{name}.inventory"
    if environment.hosts or environment.groups:
        raise UsageError(
            "an environment has either a command or tables of hosts and groups",
            where=where,
            remedy="let the command print them all, or remove it",
        )
    about = {key: value for key, value in environ.items() if key not in WITHHELD} | {"PINWHEEL_ENVIRONMENT": name}
    shown = f"{where}: {shlex.join(argv)}"
    try:
        done = process.run(argv, cwd=folder, env=about, timeout_s=PATIENCE_S)
    except (process.ProgramMissing, OSError) as error:
        why = f": {error.strerror}" if isinstance(error, OSError) else ""
        remedy = "name an executable; its path is relative to the folder of pinwheel.toml"
        raise InventoryFailed(f"the inventory command cannot be started{why}", where=shown, remedy=remedy) from error
    except process.TimedOut as error:
        remedy = "see what it waits for"
        raise InventoryFailed(f"no inventory within {PATIENCE_S:g} s", where=shown, remedy=remedy) from error
    if done.errors.strip():
        said(process.tail(done.errors))
    if done.exit_code != 0:
        problem = f"the inventory command failed with exit code {done.exit_code}"
        raise InventoryFailed(problem, where=shown, remedy="run it by hand; what it wrote on stderr stands above")
    told = config.parse_inventory(done.output, shown)
    if not told.hosts:
        raise InventoryFailed("the inventory command printed no hosts", where=shown, remedy="run it by hand")
    variables = {**environment.variables, **told.variables}
    return environment.but(hosts=told.hosts, groups=told.groups, variables=variables)
