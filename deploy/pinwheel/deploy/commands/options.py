"""What the tasks of deploy have in common: the help of their flags, their exit codes, and their session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinwheel.deploy.rolling.session import Session
    from pinwheel.deploy.showing.watch import Watcher

HELD = 3
"""The exit code of what somebody else's lease stands in the way of."""

CHANGES = 4
"""The exit code of a plan that has changes."""

RELEASE = "APP==VER, an application and its version (default: none; it must be named)"
LINES = "print a line of JSON on stdout for everything that happens, as it happens (default: text for people)"
APPLICATION = "as pinwheel.toml names it (default: none; it must be named)"

OF_ALL = {
    "env": "the environment, as pinwheel.toml names it (default: none; it must be named)",
    "json": "print one JSON document on stdout (default: text for people)",
}
"""The help of the flags that every task has."""

OF_HOSTS = OF_ALL | {
    "host": "only hosts of these names or globs; may be repeated (default: every host of the environment)",
    "group": "only hosts in groups of these names or globs; may be repeated (default: every host)",
}
"""The same for tasks that can be limited to some hosts."""


@contextlib.contextmanager
def session_of(
    env: str,
    title: str,
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    *,
    lines: bool = False,
    live: bool = True,
    asks_once: bool = False,
    watcher: Watcher | None = None,
) -> Iterator[Session]:
    """What a task works with: the hosts of environment `env`, or some of them, while the terminal shows `title`, a
    script reads `lines`, or `watcher` looks on. `asks_once` as in `rolling.session`."""
    from pinwheel.deploy.rolling import session
    from pinwheel.deploy.showing import watch

    watching = contextlib.nullcontext(watcher) if watcher else watch.watching(title, lines=lines, live=live)
    with (
        watching as looking_on,
        session.open_session(env, looking_on, host or (), group or (), asks_once=asks_once) as opened,
    ):
        looking_on.expect([each.name for each in opened.targets])
        yield opened
