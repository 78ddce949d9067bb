"""What was found, how much it weighs, and what a project allows itself with a reason. No I/O here."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pinwheel.errors import PinwheelError

Severity = Literal["error", "warning"]

RULES = {
    "submodule": "a submodule, whose files are not in the commit",
    "lfs-pointer": "a Git LFS pointer in place of a file",
    "export-ignore": "a file that `.gitattributes` marks so, which some backends leave out",
    "build-requires-url": "a build requirement by address (`name @ https://…`)",
    "no-version": "neither the tag nor the project says a version, or what it says is none",
    "version-mismatch": "tag and metadata disagree on the version",
    "name-mismatch": "another name than configured",
    "local-version": "a local version (`1.0+abc`)",
    "requires-url": "a requirement by address, to run",
    "glibc": "a native wheel that needs a newer glibc than the oldest host has",
    "missing-library": "a native wheel that needs a shared library which is not in it",
    "not-in-commit": "a file in the wheel or sdist that is not in the commit",
    "secret-file": "a file whose name says that it holds secrets: `.env`, `.pypirc`, key stores …",
    "secret": "what has the shape of a secret: private keys, tokens, passwords in addresses …",
    "not-searched": "too large to be searched for secrets to its end",
    "readme": "a README that PyPI's renderer cannot show",
    "unused-allowance": "an allowance in `pinwheel.toml` that allows nothing",
}
"""The names of all rules, by which pinwheel.toml switches them off, and what each finds."""

ALLOW_IT = "what is meant to be so, pinwheel.toml can allow with a reason: [[projects.NAME.allow]]"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the rule of this name found in `file` (a path in the commit, or in `archive`), and what to do
    about it. `allowed` is the reason for which the project allows it, empty when it does not."""

    severity: Severity
    rule: str
    file: str
    problem: str
    remedy: str
    archive: str = ""
    allowed: str = ""

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return f"{self.archive}: {self.file}" if self.archive else self.file

    @property
    def headline(self) -> str:
        """How much it weighs, where it is, what it is and by which rule."""
        return f"{'allowed' if self.allowed else self.severity}: {self.place}: {self.problem} [{self.rule}]"

    def __str__(self) -> str:
        return f"{self.headline} ({f'reason: {self.allowed}' if self.allowed else self.remedy})"

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "severity": self.severity,
            "rule": self.rule,
            "archive": self.archive,
            "file": self.file,
            "problem": self.problem,
            "remedy": self.remedy,
            "allowed": self.allowed,
        }


@dataclass(frozen=True, slots=True)
class Allowance:
    """A project's leave to break `rule`, and why. `file` is a glob of the files that it is given for."""

    rule: str
    reason: str
    file: str = "*"

    def covers(self, finding: Finding) -> bool:
        return finding.rule == self.rule and fnmatch.fnmatchcase(finding.file, self.file)


class NotFit(PinwheelError):
    """Inspection found errors; nothing was published. `findings` has the warnings too, and what is allowed."""

    def __init__(self, what: str, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        bad = errors(findings)
        rest = [each for each in findings if each not in bad]
        super().__init__(
            f"{what} is not fit to be published: {len(bad)} finding{'s' if len(bad) != 1 else ''}",
            where="\n".join(each.headline for each in (*bad, *rest)),
            remedy="\n".join([*dict.fromkeys(each.remedy for each in bad), ALLOW_IT]),
        )


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that forbid publishing."""
    return [each for each in findings if each.severity == "error" and not each.allowed]


def allow(findings: Iterable[Finding], allowances: Sequence[Allowance]) -> list[Finding]:
    """The same findings; those that an allowance covers carry its reason."""
    reasons = [(each, next((a.reason for a in allowances if a.covers(each)), "")) for each in findings]
    return [replace(each, allowed=reason) if reason else each for each, reason in reasons]


def unused(findings: Sequence[Finding], allowances: Sequence[Allowance]) -> list[Finding]:
    """A warning for each allowance that covers none of all `findings` of a release: it would hide the next one."""
    return [
        Finding(
            "warning",
            "unused-allowance",
            "pinwheel.toml",
            f"{each.rule} is allowed in {each.file} and not found there ({each.reason})",
            "take the allowance out, so that it does not hide what comes later",
        )
        for each in allowances
        if not any(each.covers(finding) for finding in findings)
    ]
