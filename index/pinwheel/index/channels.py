"""Channels: which files are visible where. An upload lands in `main`; any other channel holds what was promoted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pinwheel.errors import UsageError

MAIN = "main"
EVERY_FILE = frozenset({MAIN})
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels beside `main`, each with those whose files are visible in it too."""

    inherits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __contains__(self, channel: str) -> bool:
        return channel == MAIN or channel in self.inherits

    @property
    def promotable(self) -> tuple[str, ...]:
        """What a release can be promoted to, sorted."""
        return tuple(sorted(self.inherits))

    def visible(self, channel: str) -> frozenset[str]:
        """The channels whose files are visible in `channel`, itself among them."""
        found: set[str] = set()
        rest = [channel]
        while rest:
            each = rest.pop()
            if each not in found:
                found.add(each)
                rest += self.inherits.get(each, ())
        # every file is in main
        return EVERY_FILE if MAIN in found else frozenset(found)


def declared(inherits: Mapping[str, tuple[str, ...]], where: str) -> Channels:
    """The channels as a configuration declares them. Raises `UsageError`, which names the place `where`."""
    channels = Channels(dict(inherits))
    for name, parents in sorted(inherits.items()):
        at = f"{where}.{name}"
        if name == MAIN:
            raise UsageError("main is where every upload lands", where=at, remedy="declare only the other channels")
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name of a channel", where=at, remedy="use small letters, digits, dots and hyphens"
            )
        for parent in parents:
            if parent not in channels:
                raise UsageError(f"there is no channel {parent}", where=f"{at}.inherits", remedy="declare it as well")
            if name in channels.visible(parent):
                raise UsageError(f"{name} inherits from itself, through {parent}", where=f"{at}.inherits")
    return channels
