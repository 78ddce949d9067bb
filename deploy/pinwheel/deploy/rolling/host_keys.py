"""Keys of hosts that nobody knows yet: fetched, shown to a person, and trusted when the person says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pinwheel.deploy.reaching.hosts import HostKey, HostKeyUnknown, Hosts, NotTouched

Confirm = Callable[[Mapping[HostKey, Sequence[str]]], Collection[HostKey]]
"""Asks which of these keys are trusted; with each come the hosts that cannot be reached without it."""


@dataclass
class Introduced:
    """How the hosts stand at the end. `unknown` are the keys that were not trusted, each with the hosts behind it;
    `failed` says why a host could not be asked, a changed key for instance."""

    known: list[str] = field(default_factory=list)
    added: list[HostKey] = field(default_factory=list)
    unknown: dict[HostKey, list[str]] = field(default_factory=dict)
    failed: dict[str, NotTouched] = field(default_factory=dict)


def introduce(hosts: Hosts, names: Sequence[str], at_once: int, confirm: Confirm) -> Introduced:
    """Greet the hosts, and again those whose key, or that of a bastion on the way to them, was trusted meanwhile.

    A key that is another than the known one is a failure, and never put to `confirm`.
    """
    made = Introduced()
    left = list(names)
    while left:
        waiting: dict[HostKey, list[str]] = {}
        with ThreadPoolExecutor(at_once) as threads:
            for name, error in zip(left, threads.map(lambda name: _greeted(hosts, name), left), strict=True):
                match error:
                    case None:
                        made.known.append(name)
                    case HostKeyUnknown(key=key):
                        waiting.setdefault(key, []).append(name)
                    case _:
                        made.failed[name] = error
        trusted = confirm(waiting) if waiting else ()
        for key in trusted:
            hosts.trust(key)
            made.added.append(key)
        left = [name for key in trusted for name in waiting.pop(key)]
        for key, behind in waiting.items():
            made.unknown.setdefault(key, []).extend(behind)
    return made


def _greeted(hosts: Hosts, name: str) -> NotTouched | None:
    try:
        hosts.greet(name)
    except NotTouched as error:
        return error
    return None
