"""Why a host cannot be worked on: error numbers and exit codes say what no text does reliably."""

from __future__ import annotations

import errno
import shlex
import socket
from collections.abc import Callable, Sequence

from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.reaching.hosts import RunnerFailed

OLDEST_PYTHON = (3, 10)

TOO_OLD = 3
"""The exit code by which a host's python says that it is older than that."""

Exit = Callable[[Sequence[str]], int | None]
"""Runs a command on the host and returns its exit code; None when there was none."""


HUNG_UP = ("it hung up before the login was done", "read the log of its SSH server: does it refuse this address?")


def unreachable(error: OSError) -> tuple[str, str]:
    """The problem and the remedy for an error of the network."""
    match error:
        case ConnectionRefusedError():
            return "nobody listens", "is its SSH server running, and the port right?"
        case TimeoutError():
            return "no answer", "is the host up, and the way to it open?"
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "its name cannot be looked up at the moment", "is a name server in reach? Then correct its address"
        case socket.gaierror():
            return "there is no host of that name", "correct its address, or HostName in your SSH configuration"
        case ConnectionError():
            return HUNG_UP
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return "no way leads to its address", "check the address, the network and its routes"
    return f"the connection fails: {error.strerror or 'nobody says why'}", "check the address and the way to it"


def diagnosed(target: Target, errors: str, exit_of: Exit) -> RunnerFailed:
    """Why a runner did not start on `target`, found by smaller commands; `errors` is what it wrote on stderr."""
    where, said = target.where, last_line(errors)
    if target.become and exit_of((*target.become, "true")) != 0:
        return RunnerFailed(
            f"`{shlex.join(target.become)}` does not work without a password{said}",
            where=where,
            remedy="allow the user to run it with NOPASSWD in sudoers, or change `become` of the environment",
        )
    python = target.layout.python
    check = f"import sys;sys.exit({TOO_OLD} if sys.version_info<{OLDEST_PYTHON!r} else 0)"
    ended = exit_of((*target.become, python, "-I", "-c", check))
    if ended == 0:
        return RunnerFailed(
            f"the runner did not start{said}",
            where=where,
            remedy="this is a fault of pinwheel, or of the host's python; please report it",
        )
    if ended == TOO_OLD:
        return RunnerFailed(
            f"{python} is older than {'.'.join(map(str, OLDEST_PYTHON))}",
            where=where,
            remedy="install a newer one and name it in layout.python",
        )
    return RunnerFailed(
        f"there is no {python}",
        where=where,
        remedy="install python3 on the host, or name it in layout.python",
    )


def last_line(errors: str) -> str:
    """The last line that a host wrote on stderr, ready to be appended to a sentence."""
    lines = errors.strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
