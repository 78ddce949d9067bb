"""A generation of an application on this host: what supervisor runs of it, and how two of them stand side by side.

Programs that are replaced without downtime exist in two colours. Each colour listens on sockets of its own, in
`run/COLOUR/PROGRAM/sock`, and a proxy asks `run/live/PROGRAM/sock`, where `live` is a symbolic link to a colour. Every
new connection follows it anew: renaming another link over it leads the next one to the other generation, and no
connection finds nobody in between. Sent beside the runner.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pinwheel.deploy.host.gate import Document

COLOURS = ("blue", "green")
"""Without one (""), a program is stopped for its successor."""

DRAIN_S = 10.0
QUIET_S = 0.5  # without any connection; who followed the old link a moment ago has connected by then


def other(colour: str) -> str:
    """The colour in which the next generation starts."""
    return COLOURS[1] if colour == COLOURS[0] else COLOURS[0]


class Setup(NamedTuple):
    """How a release runs: `conf` and `programs` of what is stopped for its successor, and of each colour of the rest.

    `colours` is empty when nothing is replaced without downtime, else it has a `conf` and `programs` for each.
    """

    conf: str
    programs: Sequence[Document]
    colours: Mapping[str, Document]

    def text(self, colour: str) -> str:
        """All that supervisor reads."""
        return self.conf + (self.colours[colour]["conf"] if colour else "")

    def all_programs(self, colour: str) -> list[Document]:
        return [*self.programs, *(self.colours[colour]["programs"] if colour else ())]

    def processes_of(self, program: str, colour: str) -> list[str]:
        """Supervisor's names for the processes of one program; none of one that is not among them."""
        return [name for each in self.all_programs(colour) if each["name"] == program for name in each["processes"]]

    def drain_s(self, colour: str) -> float:
        """How long to wait for the last connections: as long as the most patient program asks."""
        programs = self.colours.get(colour, {}).get("programs", ())
        return max((float(each["drain_s"]) for each in programs), default=DRAIN_S)


def setup_of(document: Document) -> Setup:
    """What a request, a journal's `begin` or release.json says; those of an older runner know no colours."""
    return Setup(document["conf"], document["programs"], document.get("colours") or {})


def every_program(about: Document) -> list[Document]:
    """The programs of a release as release.json keeps them, each once, in whichever colour."""
    colour = next(iter((about.get("colours") or {}).values()), {"programs": ()})
    return [*(about.get("programs") or ()), *colour["programs"]]


def every_set(about: Document) -> set[str]:
    """The names of the sets of secrets with which a release was activated, and to which it may have to go back."""
    setups = (about, about.get("former") or {})
    return {each["secrets"] for setup in setups for each in every_program(setup) if each.get("secrets")}


class Sockets:
    """The folder `run` of an application."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._live, self._next = folder, folder / "live", folder / ".live"

    def make_room(self, colour: str, programs: Sequence[Document]) -> None:
        """For a generation that does not run yet: a folder for each program, in which its user may make the socket.

        The link to it, too: after the commit a rename is enough, which needs no space on the disk.
        """
        for each in programs:
            folder = Path(each["socket"]).parent
            folder.mkdir(parents=True, exist_ok=True)
            Path(each["socket"]).unlink(missing_ok=True)  # of one that was killed; not every server takes it away
            if each["user"]:
                shutil.chown(folder, each["user"])
        self._next.unlink(missing_ok=True)
        self._next.symlink_to(colour)

    def serve(self, colour: str) -> None:
        """From now on connections go to `colour`; without one, there is no link."""
        if colour:
            if not self._next.is_symlink() or str(self._next.readlink()) != colour:
                self._next.unlink(missing_ok=True)
                self._next.symlink_to(colour)
            self._next.replace(self._live)
        else:
            self._live.unlink()

    @property
    def served(self) -> str:
        return str(self._live.readlink()) if self._live.is_symlink() else ""

    def drain(self, colour: str, patience_s: float) -> None:
        """Wait until nobody has been connected to a colour's sockets for a while, or patience is at its end."""
        quiet_since = time.monotonic()
        deadline = quiet_since + patience_s
        while (now := time.monotonic()) < deadline and now - quiet_since < QUIET_S:
            if self.connections(colour):
                quiet_since = now
            time.sleep(0.05)

    def connections(self, colour: str) -> int:
        """How many connections the colour's servers have, those that wait to be accepted included.

        The kernel shows the server's end of each under the name of its listening socket. Where it does not show
        them, nobody knows: that counts as one.
        """
        with contextlib.suppress(OSError):
            lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
            ours = [line for line in lines if f" {self.folder}/{colour}/" in line]
            listens = 0x10000  # __SO_ACCEPTCON
            return sum(not int(line.split()[3], 16) & listens for line in ours)
        return 1
