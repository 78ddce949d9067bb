"""The control plane under `/-/`: health, own files, events, tokens, and the way to the rest. Versioned JSON."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from importlib.metadata import version

from packaging.utils import canonicalize_name

from pinwheel.errors import UsageError
from pinwheel.events import from_document
from pinwheel.index.answers import Answer, Environ, document, query_of
from pinwheel.index.credentials.access import new_token
from pinwheel.index.grants import SCOPES, Denied, Grant, Principal, need
from pinwheel.index.intake.body import bad, json_of, number_of, seconds_of
from pinwheel.index.simple.pages import FILES_URL, file_document, status_document
from pinwheel.index.store.event_log import EventLog
from pinwheel.index.store.records import Records
from pinwheel.index.store.tokens import Tokens
from pinwheel.index.web.attaching import Attaching
from pinwheel.index.web.deciding import Deciding
from pinwheel.index.web.leasing import Leasing

LONGEST_MINTED_S = 24 * 3600.0
METRICS_TYPE = ("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
SCOPE_OF_EVENTS = {
    **dict.fromkeys(("released", "locked", "vendored"), "upload"),
    **dict.fromkeys(("bootstrapped", "prepared", "activated", "restarted", "reverted", "failed"), "deploy"),
    **dict.fromkeys(("lost", "task", "ran"), "deploy"),
    **dict.fromkeys(("drained", "undrained", "rollout-started", "rollout-finished"), "deploy"),
    **dict.fromkeys(("pruned", "unlocked"), "deploy"),
}
"""Who may say what happened. What happens in the index it says itself, and takes from nobody."""
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Control:
    """The routes below `/-/` that need a credential. `now` counts seconds since 1970, `stamp` makes RFC 3339 of it."""

    def __init__(
        self,
        *,
        records: Records,
        tokens: Tokens,
        events: EventLog,
        leasing: Leasing,
        attaching: Attaching,
        deciding: Deciding,
        now: Callable[[], float],
        stamp: Callable[[float], str],
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        self._records = records
        self._tokens = tokens
        self._event_log = events
        self._leasing = leasing
        self._attaching = attaching
        self._deciding = deciding
        self._now = now
        self._stamp = stamp
        self._metrics = metrics

    def answer(self, environ: Environ, principal: Principal, path: str) -> Answer:
        """Answer `path`, which is what follows `/-/`. Raises `Stop`, `Denied`."""
        if not path.isprintable():
            raise bad("the address is not plain text")
        method = "GET" if environ["REQUEST_METHOD"] == "HEAD" else environ["REQUEST_METHOD"]
        head, _, rest = path.partition("/")
        match method, head:
            case "GET", "whoami" if not rest:
                return self._whoami(principal)
            case "GET", "metrics" if not rest and self._metrics is not None:
                if not principal.sees_everything:
                    raise Denied("the metrics are about all projects, and need the scope read for them", unnamed=False)
                return Answer(200, (METRICS_TYPE, ("Cache-Control", "no-store")), self._metrics())
            case "GET", "projects" if rest and "/" not in rest:
                return self._project(principal, canonicalize_name(rest))
            case "PUT", "projects" if rest.count("/") == 1 and rest.endswith("/status"):
                return self._deciding.status(environ, principal, rest.removesuffix("/status"))
            case "GET", "releases" if rest and "/" not in rest:
                return self._deciding.listed(principal, rest)
            case "POST", "releases" if rest.count("/") == 2:
                project, release, act = rest.split("/")
                return self._deciding.release(environ, principal, project, release, act)
            case "POST", "events" if not rest:
                return self._add_events(environ, principal)
            case "GET", "events" if not rest:
                return self._events(environ, principal)
            case (("GET" | "POST" | "PUT" | "DELETE"), "leases") if _ENVIRONMENT.fullmatch(rest):
                return self._leasing.answer(environ, principal, method, rest)
            case "POST", "tokens" if not rest:
                return self._mint(environ, principal)
            case (("GET" | "PUT"), "attachments"):
                return self._attaching.answer(environ, principal, method, rest.split("/"))
        return document(404, {"error": "there is nothing here"})

    def _whoami(self, principal: Principal) -> Answer:
        """Whom the credential belongs to and what it may do, for whoever wants to know before long work."""
        expires_at = None if principal.expires_at is None else self._stamp(principal.expires_at)
        about = {
            "name": principal.name,
            "kind": principal.kind,
            "scopes": [scope for scope in SCOPES if principal.may(scope)],
            "grants": [grant.document() for grant in principal.grants],
            "expires_at": expires_at,
        }
        return document(200, about)

    def _project(self, principal: Principal, name: str) -> Answer:
        """The files of that name that were published here, none for a name that was not. No upstream is asked.

        Not 404: a client must be able to tell a project that is missing from an index that is.
        """
        need(principal, "read", project=name)
        project = self._records.project(name)
        files = [file_document(entry, FILES_URL) for entry in project.files]
        return document(200, {"name": name, "status": status_document(project), "files": files})

    def _add_events(self, environ: Environ, principal: Principal) -> Answer:
        need(principal, "upload", "deploy")
        sent = json_of(environ).get("events")
        if not isinstance(sent, list):
            raise bad("events is not a list")
        try:
            events = [from_document(each) for each in sent if isinstance(each, dict)]
        except (ValueError, KeyError) as error:
            raise bad(str(error)) from error
        if len(events) != len(sent):
            raise bad("an event is not an object")
        for event in events:
            scope = SCOPE_OF_EVENTS.get(event.kind)
            if scope is None:
                raise bad(f"an event {event.kind} is for the index alone to record")
            need(principal, scope, project=canonicalize_name(event.subject), environment=event.environment)
        documents = (event.document() for event in events)
        return document(200, {"recorded": self._event_log.add(documents, principal.name)})

    def _events(self, environ: Environ, principal: Principal) -> Answer:
        """The events of the projects and environments that the principal may touch."""
        need(principal, "read", "deploy")
        if principal.minted:
            raise Denied("a minted token is for files, not for events", unnamed=False)
        query = query_of(environ)
        after, limit = number_of(query, "after", 0), number_of(query, "limit", 1000)
        equal = {key: query.get(key, "") for key in ("kind", "subject", "environment")}
        visible = functools.partial(_concerns, principal, ("read", "deploy"))
        events, last = self._event_log.after(after, max(limit, 0), visible, **equal)
        return document(200, {"events": events, "last": last})

    def _mint(self, environ: Environ, principal: Principal) -> Answer:
        need(principal, "deploy")
        sent = json_of(environ)
        name, scopes = sent.get("name"), sent.get("scopes")
        if not isinstance(name, str) or scopes != ["read"]:
            raise bad('a minted token has a name and the scopes ["read"]')
        now = self._now()
        expires_at = now + seconds_of(sent, "ttl_s", LONGEST_MINTED_S)
        if principal.expires_at is not None:
            expires_at = min(expires_at, principal.expires_at)
        # several rollouts may mint under one name
        unique = f"{name}-{hashlib.sha256(f'{principal.name}{now}{name}'.encode()).hexdigest()[:8]}"
        try:
            secret, token = new_token(
                unique,
                [Grant("read", grant.projects) for grant in principal.grants if grant.scope in ("deploy", "admin")],
                created_at=self._stamp(now),
                expires_at=expires_at,
                parent=principal.name,
            )
        except UsageError as error:
            raise bad(error.problem) from error
        if not self._tokens.add(token):
            return document(409, {"error": "try again"})
        return document(200, {"token": secret, "expires_at": self._stamp(expires_at)})


def health() -> Answer:
    """The process answers. Needs no credential."""
    return document(200, {"status": "ok", "version": version("pinwheel-kit")})


def _concerns(principal: Principal, scopes: tuple[str, ...], subject: str, environment: str) -> bool:
    """Whether an event is about what the principal may see. An event may be about no project or no environment."""
    return principal.may(*scopes, project=canonicalize_name(subject), environment=environment)
