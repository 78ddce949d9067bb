"""The operator's own commands around the work on hosts. They run on this machine; this is the place that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pinwheel import process
from pinwheel.config import Hooks
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.inventory.template import fill
from pinwheel.errors import PinwheelError, UsageError

Argv = tuple[str, ...]


class HookFailed(PinwheelError):
    """The command that stands before the rollout did not succeed; nothing was done."""


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands with all that is known filled in: `drain` and `undrain` by host, the others once, `after` for each
    way in which a rollout can end. They run in `folder`."""

    folder: Path
    timeout_s: float
    drains: Mapping[str, Argv]
    undrains: Mapping[str, Argv]
    first: Argv = ()
    last: Mapping[str, Argv] | None = None

    def drain(self, host: str) -> str:
        """As `drains.Traffic`."""
        return self._run(self.drains[host])

    def undrain(self, host: str) -> str:
        """As `drains.Traffic`."""
        return self._run(self.undrains[host])

    def before(self) -> None:
        """Raises `HookFailed`."""
        if problem := self._run(self.first):
            raise HookFailed(
                f"the command before the rollout failed: {problem}",
                where=self.first[0],
                remedy="nothing was done; see to it, or take it out of the environment's hooks.before",
            )

    def after(self, outcome: str) -> str:
        """What went wrong, "" when nothing did."""
        return self._run((self.last or {}).get(outcome, ()))

    def _run(self, argv: Sequence[str]) -> str:
        if not argv:
            return ""
        try:
            done = process.run(argv, cwd=self.folder, timeout_s=self.timeout_s)
        except PinwheelError as error:
            return error.problem
        except OSError as error:
            return f"{argv[0]}: {error.strerror}"
        said = (done.errors.strip() or done.output.strip()).splitlines()
        return f"{argv[0]} exits with {done.exit_code}" + (f": {said[-1]}" if said else "") if done.exit_code else ""


def commands(
    hooks: Hooks,
    folder: Path,
    place: str,
    targets: Sequence[Target],
    values: Mapping[str, str],
    outcomes: Sequence[str],
) -> Commands:
    """Fill in the templates. `place` is the path of their keys, `outcomes` the words that {outcome} may become.

    Raises `UsageError` for a variable that is not known, and when only one of drain and undrain is there.
    """
    if bool(hooks.drain) != bool(hooks.undrain):
        raise UsageError(
            "of drain and undrain one is missing",
            where=place,
            remedy="whoever is taken out must be put back: name both",
        )

    def filled(key: str, known: Mapping[str, str]) -> Argv:
        return tuple(fill(word, known, f"{place}.{key}") for word in getattr(hooks, key))

    known = {each.name: {**each.variables, "host": each.name, "address": each.address, **values} for each in targets}
    return Commands(
        folder,
        hooks.timeout_s,
        {name: filled("drain", mine) for name, mine in known.items()},
        {name: filled("undrain", mine) for name, mine in known.items()},
        filled("before", values),
        {outcome: filled("after", {**values, "outcome": outcome}) for outcome in outcomes},
    )
