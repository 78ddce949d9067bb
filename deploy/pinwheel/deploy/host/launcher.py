"""Start a program with its limits and its secrets: what supervisor cannot do. It lies on the host as `bin/launch-1.py`.

    PYTHON -I -S launch-1.py [--limit NAME=NUMBER]… [--secrets FOLDER] -- COMMAND…

It runs as the program's user and becomes the program (exec), so the pid and supervisor's signals are the program's.
Values are in files that this user alone can read, and from here on in the program's environment; never in an argument.
"""

from __future__ import annotations

import os
import resource
import sys

INTERFACE = 1
"""Its number on the host. Conf of old releases goes on naming it, so other arguments need another number."""

LIMITS = {"memory": "as"}
"""Our words that are not the kernel's."""


def launch(words: list[str]) -> None:
    """Become the command; ends the process with one line on stderr when it cannot."""
    variables, limits = dict(os.environb), []
    while (word := words.pop(0)) != "--":
        value = words.pop(0)
        if word == "--limit":
            limits.append(value.split("="))
        elif word == "--secrets":
            with open(f"{value}/.environment", "rb") as file:  # noqa: PTH123 (pathlib takes as long as all the rest)
                for each in file.read().split(b"\0")[:-1]:
                    name, _, secret = each.partition(b"=")
                    variables[name] = secret
    for name_of_limit, number in limits:  # at last: we need memory and files, too
        limit(name_of_limit, int(number))
    try:
        os.execvpe(words[0], words, variables)  # noqa: S606 (no shell is what is wanted)
    except OSError as error:
        error.filename = words[0]  # not the last place of PATH where it was looked for
        raise


def limit(name: str, number: int) -> None:
    """Set a limit, soft and hard; -1 is none. Only root can go above the hard limit that supervisor has."""
    try:
        resource.setrlimit(getattr(resource, f"RLIMIT_{LIMITS.get(name, name).upper()}"), (number, number))
    except (ValueError, OSError) as error:
        sys.exit(f"pinwheel: the limit {name} cannot be {number}: {error}. Raise supervisor's own, or run as root")


if __name__ == "__main__":
    try:
        launch(sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"pinwheel: cannot start: {os.fsdecode(error.filename or '')}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)  # as a shell says it
