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
            # its text may hold the address
            self._said(f"{self._host} was not told of {event.kind}: {type(error).__name__}")
        else:
            if answer.status >= 300:
                self._said(f"{self._host} was not told of {event.kind}: it answers {answer.status}")
