"""Errors that a person can act on: what is wrong, where, and what to do next."""

from __future__ import annotations


class PinwheelError(Exception):
    """A failure with a remedy. `pinwheel.cli` prints it without a traceback and exits with `exit_code`.

    `problem` is one sentence; `where` names the file, line, host or address; `remedy` says what to do next.
    None of the three may hold a secret.
    """

    exit_code = 1

    def __init__(self, problem: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy


class UsageError(PinwheelError):
    """The command line or the configuration is wrong; nothing was done."""

    exit_code = 2


class Refused(PinwheelError):
    """A lock or a fence said no; nothing was done."""

    exit_code = 3


def describe(error: PinwheelError) -> str:
    """Problem, where, remedy: the form of every error that a person sees."""
    lines = [f"error: {error.problem}"]
    for label, text in (("where", error.where), ("remedy", error.remedy)):
        if text:
            lines += [f"  {label}: {text.replace(chr(10), chr(10) + ' ' * (len(label) + 4))}"]
    return "\n".join(lines)
