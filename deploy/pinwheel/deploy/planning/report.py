"""How a rollout ended: a word for the whole, and an outcome for each host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pinwheel.deploy.planning.outcome import Outcome


class Conclusion(StrEnum):
    """How a rollout ended."""

    DONE = "done"  # every host is as wished
    FAILED = "failed"  # it went through, but within the budget some hosts did not
    HALTED = "halted"  # it was stopped by its gate
    FENCED = "fenced"  # it was stopped because somebody else may hold the environment
    INTERRUPTED = "interrupted"  # it was stopped by its operator


EXIT_CODES = {Conclusion.DONE: 0, Conclusion.FENCED: 3}


@dataclass(frozen=True, slots=True)
class Report:
    """How a rollout ended. `outcomes` holds every host of the fleet once; `reason` is empty when it is done."""

    rollout: str
    conclusion: Conclusion
    reason: str
    outcomes: tuple[Outcome, ...]
    exit_code: int
