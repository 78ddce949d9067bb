"""Who may do what: scopes, each for some projects and environments, and whether they allow a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from pinwheel.errors import UsageError
from pinwheel.index.globs import checked, matching
from pinwheel.index.routes import Authorize, ControlPlane, Form, Other, Probe, Route

FOR_READERS = ("whoami", "projects", "releases")
"""Of the control plane, what those without a credential may ask for where everybody may read."""
SCOPES = ("read", "upload", "promote", "deploy", "admin")


@dataclass(frozen=True, slots=True)
class Grant:
    """One thing that somebody may do, and for which `projects` and `environments` (globs)."""

    scope: str
    projects: tuple[str, ...] = ("*",)
    environments: tuple[str, ...] = ("*",)

    def __str__(self) -> str:
        """As `granted` reads it: one word for each project and environment."""
        return ",".join(
            self.scope + (f":{project}" if project != "*" else "") + (f"@{environment}" if environment != "*" else "")
            for project in self.projects
            for environment in self.environments
        )

    def document(self) -> dict[str, object]:
        return {"scope": self.scope, "projects": list(self.projects), "environments": list(self.environments)}

    def covers(self, project: str, environment: str) -> bool:
        """Whether it is for both; empty text means none in particular."""
        return (not project or bool(matching(project, self.projects))) and (
            not environment or any(fnmatchcase(environment, glob) for glob in self.environments)
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was recognised.

    `hidden` are globs of projects that are not for this one whatever its grants say; `expires_at` counts seconds since
    1970, None for never. `minted` is true of a short-lived token that another one made, for a host to fetch files with.
    """

    name: str
    kind: Literal["token", "user", "anonymous"]
    grants: tuple[Grant, ...]
    hidden: tuple[str, ...] = ()
    expires_at: float | None = None
    minted: bool = False

    def may(self, *scopes: str, project: str = "", environment: str = "") -> bool:
        """Whether one grant of these scopes (admin counts as each) is for this project and environment."""
        if project and self.hidden and matching(project, self.hidden):
            return False
        return any(
            (grant.scope in scopes or grant.scope == "admin") and grant.covers(project, environment)
            for grant in self.grants
        )

    @property
    def sees_everything(self) -> bool:
        """Whether it may read every project."""
        return not self.hidden and any("*" in grant.projects for grant in self.reads)

    @property
    def reads(self) -> tuple[Grant, ...]:
        return tuple(grant for grant in self.grants if grant.scope in ("read", "admin"))


class Denied(Exception):
    """The principal may not do this. `unnamed` is true when somebody with a credential might."""

    def __init__(self, reason: str, *, unnamed: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unnamed = unnamed


@dataclass(frozen=True, slots=True)
class About:
    """The project that a route is about, empty for none; `private` is one of ours, of which no upstream ever hears."""

    project: str = ""
    private: bool = False


def allow(principal: Principal, route: Route, about: Callable[[], About]) -> None:
    """Raise `Denied` unless the route's answer is for this principal.

    `about` tells the project, and is asked only when it matters. Forms and the control plane also say themselves what
    more is needed for what they ask for; so does the page of all projects, which shows each only its own.
    """
    match route:
        case Probe():
            return
        case ControlPlane() | Authorize():
            # hosts, people and environments are not what everybody may read
            named = isinstance(route, ControlPlane) and route.path.partition("/")[0] not in FOR_READERS
            if not principal.grants or (named and principal.kind == "anonymous"):
                raise Denied("a credential is needed", unnamed=True)
            return
        case Form():
            need(principal, "upload")
            return
    need(principal, "read")
    if principal.sees_everything:
        return
    if isinstance(route, Other):
        raise _denied(principal, "this shows all projects, and this credential is only for some")
    found = about()
    # a public name is for every reader, unless the operator hides it from those without a credential
    hidden = bool(matching(found.project, principal.hidden))
    if hidden or (found.private and not principal.may("read", project=found.project)):
        raise _denied(principal, f"this credential is not for {found.project}")


def need(principal: Principal, *scopes: str, project: str = "", environment: str = "") -> None:
    """Raise `Denied` unless the principal has one of the scopes for this project and environment."""
    if principal.may(*scopes, project=project, environment=environment):
        return
    if not principal.may(*scopes):
        raise _denied(principal, f"this needs the scope {' or '.join(scopes)}")
    what = " in ".join(filter(None, (project, environment and f"the environment {environment}")))
    raise _denied(principal, f"this credential is not for {what}")


def granted(
    scopes: Sequence[str], projects: Sequence[str] = ("*",), environments: Sequence[str] = ("*",)
) -> tuple[Grant, ...]:
    """Grants as `SCOPE[:PROJECTS][@ENVIRONMENT]` says each; what one does not say is as the other arguments say.

    Raises `UsageError`.
    """
    made = tuple(_grant(text, projects, environments) for text in scopes)
    if not made:
        raise UsageError("the token has no scope", remedy=f"the scopes are {', '.join(SCOPES)}")
    return made


def _grant(text: str, projects: Sequence[str], environments: Sequence[str]) -> Grant:
    rest, at, environment = text.partition("@")
    scope, colon, project = rest.partition(":")
    if scope not in SCOPES:
        raise UsageError(f"unknown scope: {scope}", where=text, remedy=f"the scopes are {', '.join(SCOPES)}")
    if at and not environment:
        raise UsageError(f"{text!r} names no environment", remedy="write for instance deploy@prod-*")
    return Grant(
        scope,
        checked([project], text) if colon else tuple(projects),
        (environment,) if at else tuple(environments),
    )


def _denied(principal: Principal, reason: str) -> Denied:
    unnamed = principal.kind == "anonymous"
    return Denied("a credential is needed" if unnamed else reason, unnamed=unnamed)
