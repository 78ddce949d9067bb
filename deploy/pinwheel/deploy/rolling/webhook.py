"""Tell an address of the operator's choice when a rollout starts and ends: the ledger's own event, posted as JSON."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import urllib3

from pinwheel.errors import UsageError
from pinwheel.events import Event
from pinwheel.ledger import Ledger

TOLD = frozenset({"rollout-started", "rollout-finished"})
TIMEOUT_S = 3.0
"""Hosts wait meanwhile."""
REASONS = (
    (urllib3.exceptions.NameResolutionError, "there is no host of that name"),
    (urllib3.exceptions.NewConnectionError, "nobody listens"),
    (urllib3.exceptions.TimeoutError, f"no answer within {TIMEOUT_S:g} s"),
    (urllib3.exceptions.SSLError, "its certificate is not trusted"),
)
"""What urllib3's errors mean, the nearer ones first. Their own text may hold the address."""


class Announced:
    """A ledger whose rollouts are announced at `url` too. That nobody takes it there is only said: the hosts come
    first. The address may be a secret, so nothing but its host is ever named."""

    def __init__(self, ledger: Ledger, url: str, said: Callable[[str], None]) -> None:
        """Raises `UsageError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                "the webhook is no http or https address",
                where="hooks.webhook or PINWHEEL_WEBHOOK",
                remedy="write the whole address, https:// included",
            )
        self._ledger = ledger
        self._url = url
        self._host = parts.hostname
        self._said = said

    def append(self, kind: str, subject: str, **about: object) -> Event:
        """As `pool.Recorder`."""
        event = self._ledger.append(kind, subject, **about)
        if kind in TOLD:
            self._post(event)
        return event

    def _post(self, event: Event) -> None:
        timeout = urllib3.Timeout(total=TIMEOUT_S)
        try:
            answer = urllib3.request(
                "POST", self._url, json=event.document(), timeout=timeout, retries=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            why = next((words for kind, words in REASONS if isinstance(error, kind)), type(error).__name__)
            self._said(f"the webhook at {self._host} was not told of {event.kind}: {why}")
        else:
            if answer.status >= 300:
                self._said(f"the webhook at {self._host} was not told of {event.kind}: it answers {answer.status}")
