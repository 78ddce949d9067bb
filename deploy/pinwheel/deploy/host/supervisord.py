"""supervisord on this host, over its socket, and its files as it reads them. Sent beside the runner."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import os
import re
import socket
import time
import xmlrpc.client
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pinwheel.deploy.host.gate import SHOWN_BYTES, Document, said

CALL_S = 20.0  # until supervisor, or a small tool, has answered
STOPPED = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")  # supervisor's states in which a group can be removed
BROKEN, CORRECT = "somebody else's file keeps supervisor from reloading", "ask its owner to correct it"
STARTED = ("STARTING", "RUNNING")


class Refusal(Exception):
    """The action is not done; becomes an `error` answer."""

    def __init__(self, code: str, problem: str, where: object = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.code, self.problem, self.where, self.remedy = code, problem, str(where), remedy


class Misconfigured(Exception):
    """Supervisor does not do what its files, or we, want. Its own words."""


class Supervisor:
    """supervisord behind its unix socket. `update` is never among the calls: it would apply other people's edits."""

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, method: str, *arguments: Any) -> Any:
        """Raises `Misconfigured` for a fault, `Refusal` supervisor-unreachable."""
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(CALL_S)
            connection.sock.connect(self._path)
            body = xmlrpc.client.dumps(arguments, f"supervisor.{method}")
            connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
            answer = connection.getresponse()
            if answer.status != 200:  # an exception inside of it, for instance over a file that is not UTF-8
                raise Misconfigured(f"supervisor answers {answer.status} to {method}")
            return xmlrpc.client.loads(answer.read())[0][0]
        except xmlrpc.client.Fault as fault:
            raise Misconfigured(fault.faultString) from fault
        except (OSError, http.client.HTTPException) as error:
            problem = f"supervisor does not answer: {said(error)}"
            raise Refusal("supervisor-unreachable", problem, self._path, "see whether supervisor runs there") from error
        finally:
            connection.close()

    def state(self) -> Document | None:
        """Version and state; None when nobody answers."""
        with contextlib.suppress(Refusal):
            return {"version": self.call("getSupervisorVersion"), "state": self.call("getState")["statename"]}
        return None

    def processes(self, *groups: str) -> list[Document]:
        """Supervisor's information about each process of some groups; none of those that it does not run."""
        return [each for each in self.call("getAllProcessInfo") if each["group"] in groups]

    def apply(self, group: str, wanted: bool, restart: bool, patience_s: float, only: Sequence[str] = ()) -> None:
        """Make this one group be as its file says, or be gone. What is not changed goes on, unless `restart`; then only
        the processes named in `only`, if there are any, begin anew.

        Raises `Misconfigured`; nothing has stopped then if it is about the files.
        """
        ((_, changed, removed),) = self.call("reloadConfig")  # reads the files, applies nothing
        active, differs = bool(self.processes(group)), not wanted or group in (*changed, *removed)
        if active and only and not differs:
            self.stop(group, patience_s, only)
            for name in only:
                self.call("startProcess", f"{group}:{name}", False)
        elif active and (restart or differs):
            self.stop(group, patience_s)
            self.call("removeProcessGroup", group)
            active = False
        if wanted and not active:
            self.call("addProcessGroup", group)

    def stop(self, group: str, patience_s: float, only: Sequence[str] = ()) -> None:
        """Stop the processes of a group, or those named in `only`, and wait for their end. Raises `Misconfigured`."""
        asked, deadline = False, time.monotonic() + patience_s
        while left := [
            each
            for each in self.processes(group)
            if each["statename"] not in STOPPED and (not only or each["name"] in only)
        ]:
            for each in () if asked else left:
                self.call("stopProcess", f"{group}:{each['name']}", False)
            asked = True
            if time.monotonic() > deadline:
                raise Misconfigured(f"{left[0]['name']} (pid {left[0]['pid']}) does not stop")
            time.sleep(0.05)


def parse_conf(text: str) -> configparser.RawConfigParser:
    """Read a file as supervisor does. Raises `configparser.Error`."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def stop_patience_s(conf: str | None) -> float:
    """How long a group may take to stop: its longest stopwaitsecs, and time for the kill after it."""
    waits = re.findall(r"^stopwaitsecs\s*=\s*(\d+)", conf or "", re.MULTILINE)
    return max((10.0, *map(float, waits))) + 15.0


def check_files(files: Collection[Path], ours: Collection[str]) -> None:
    """Refuse when one of somebody else's files keeps supervisor from reloading, or has a section of ours."""
    for file in sorted(files):
        try:
            clashes = {*parse_conf(file.read_text() if file.is_file() else "").sections()}.intersection(ours)
        except (configparser.Error, UnicodeDecodeError) as error:
            words = " ".join(str(error).replace("<string>", file.name).split())  # configparser's have several lines
            raise Refusal("foreign-conf", f"{BROKEN}: {words}", file, CORRECT) from error
        if clashes:
            problem = f"somebody else's file has our section [{min(clashes)}]"
            raise Refusal("foreign-conf", problem, file, "rename the application or that section")


def check_reload(supervisor: Supervisor, ours: Collection[Path]) -> None:
    """Refuse when supervisor itself cannot read its files, unless it is over `ours`, which are about to be replaced."""
    try:
        supervisor.call("reloadConfig")
    except Misconfigured as error:
        file = Path((re.search(r"file: '([^']+)'", str(error)) or [""] * 2)[1])
        if file not in ours:
            raise Refusal("foreign-conf", f"{BROKEN}: {error}", file, CORRECT) from error


def log_sizes(folder: Path) -> dict[str, int]:
    """How long the logs are now, by their paths."""
    sizes = {}
    for each in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # supervisor rotates it at this moment
            sizes[str(each)] = each.stat().st_size
    return sizes


def read_logs(processes: Sequence[Document], sizes: Mapping[str, int]) -> Iterator[str]:
    """What has come to the processes' logs since they had `sizes`."""
    for name in sorted({each[key] for each in processes for key in ("stdout_logfile", "stderr_logfile")} - {""}):
        with contextlib.suppress(OSError), Path(name).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            start = sizes.get(name, 0)
            log.seek(max(start if start <= size else 0, size - SHOWN_BYTES))  # smaller: it was rotated meanwhile
            yield log.read(SHOWN_BYTES).decode(errors="replace")
