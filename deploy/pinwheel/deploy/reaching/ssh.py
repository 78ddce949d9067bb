"""Hosts over SSH: on a connection (`ways`), one raw channel per phase carries the runner and its answers.

Never Fabric's `run(in_stream=…)` (one byte per 10 ms).
"""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinwheel.deploy.host.bundle import LOADER, bundle
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.reaching.diagnosis import diagnosed, last_line
from pinwheel.deploy.reaching.hosts import (
    Files,
    HostKey,
    HostLost,
    HostUnreachable,
    StepRefused,
    Told,
    no_files,
    untold,
)
from pinwheel.deploy.reaching.known_hosts import KnownHosts
from pinwheel.deploy.reaching.ways import CONNECT_S, SILENCE_S, Ways
from pinwheel.deploy.reaching.wire import Answers, framed, parts
from pinwheel.errors import PinwheelError, UsageError

if TYPE_CHECKING:
    import paramiko

KEPT = 256
"""By default so many connections stay open between phases; the hosts beyond these are connected anew."""


class SshHosts:
    """`Hosts` over SSH, one connection per host. `known_hosts` and `identity_file` None: the user's own. Where there is
    no file of known hosts, nobody is known. At most `kept` connections stay open when nobody is asked.

    Close it at the end: `with SshHosts(…) as hosts`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        known_hosts: Path | None = None,
        identity_file: Path | None = None,
        sent: Callable[[str], bytes] = bundle,
        silence_s: float = SILENCE_S,
        connect_s: int = CONNECT_S,
        kept: int = KEPT,
    ) -> None:
        """Raises `UsageError` when a named file cannot be used."""
        if identity_file is not None and not identity_file.is_file():
            where, remedy = str(identity_file), "correct identity_file of the environment"
            raise UsageError("the file does not exist", where=where, remedy=remedy)
        self._targets = {each.name: each for each in targets}
        self._silence_s = silence_s
        self._connect_s = connect_s
        self._kept = kept
        self._bundle = sent
        self._bundling = threading.Lock()
        self._known = KnownHosts(known_hosts)
        self._open: dict[str, Any] = {}
        self._working: set[paramiko.Channel] = set()
        self._aborted = False
        self._lock = threading.Lock()
        self._ways = Ways(targets, self._known, identity_file, connect_s)

    def __enter__(self) -> SshHosts:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            connections, self._open = list(self._open.values()), {}
        for connection in connections:
            connection.close()
        self._ways.close()

    def greet(self, host: str) -> None:
        self._connected(self._targets[host])

    def trust(self, key: HostKey) -> None:
        self._known.add(key)
        self._ways.close()  # those to bastions were made with the keys of before

    def abort(self) -> None:
        """End the stdin of every runner that is at work, and of those that start from now on."""
        with self._lock:
            self._aborted = True
            working = list(self._working)
        for channel in working:
            _end_input(channel)

    def ask(
        self,
        host: str,
        request: Mapping[str, Any],
        heard: Callable[[str], None],
        told: Told = untold,
        files: Files = no_files,
    ) -> Mapping[str, Any]:
        target = self._targets[host]
        connection = self._connected(target)
        try:
            return self._asked(connection, target, request, heard, told, files)
        finally:
            with self._lock:
                spare = len(self._open) > self._kept and self._open.pop(host, None) is not None
            if spare:
                connection.close()

    def _asked(
        self,
        connection: Any,
        target: Target,
        request: Mapping[str, Any],
        heard: Callable[[str], None],
        told: Told,
        files: Files,
    ) -> Mapping[str, Any]:
        argv = (*target.become, target.layout.python, "-I", "-c", LOADER)
        with self._channel(connection, target, argv) as channel:
            answers = Answers(channel, self._silence_s)
            started, lacking = False, None
            try:
                _send(channel, framed(self._bundled(request["action"])) + framed(json.dumps(request).encode()))
                if self._aborted:
                    _end_input(channel)
                for answer in answers:
                    started = True
                    match answer.get("type"):
                        case "result":
                            return answer
                        case "want":
                            lacking = self._sent(channel, answer["files"], files)
                        case "error" if lacking is not None:  # it stopped because of us
                            raise StepRefused(
                                "prepare-failed", lacking.problem, where=lacking.where, remedy=lacking.remedy
                            )
                        case "error":
                            place = str(answer.get("where", ""))
                            raise StepRefused(
                                str(answer.get("code", "unexpected")),
                                str(answer.get("problem", "")),
                                where=f"{target.where}: {place}" if place not in ("", target.name) else target.where,
                                remedy=str(answer.get("remedy", "")),
                            )
                        case "progress":
                            heard(str(answer.get("text", "")))
                        case "log":
                            told(answer)
            except (OSError, EOFError) as error:  # TimeoutError is one: nothing heard for too long
                problem = "it is silent" if isinstance(error, TimeoutError) else "the connection was lost"
                raise self._lost(target, problem) from error
            if answers.exit_status is None:
                raise self._lost(target, "the connection was lost")
        if started:
            said = last_line(answers.errors)
            raise self._lost(target, f"the runner stopped in the middle (exit {answers.exit_status}){said}")
        raise diagnosed(target, answers.errors, lambda argv: self._exit(connection, target, argv))

    def _bundled(self, action: str) -> bytes:
        with self._bundling:  # by one thread for all, which otherwise would do it all at once
            return self._bundle(action)

    def _sent(self, channel: paramiko.Channel, wanted: Sequence[str], files: Files) -> PinwheelError | None:
        """Send the files that a runner wants; when one cannot be had, end its input and return why. It answers then.

        Raises `TimeoutError` when the host takes nothing for too long.
        """
        try:
            for sha256 in wanted:
                for part in parts(files(sha256)):
                    _send(channel, part)
        except PinwheelError as error:
            _end_input(channel)
            return error
        return None

    def _dropped(self, target: Target) -> None:
        """Keep the connection no longer."""
        with self._lock:
            connection = self._open.pop(target.name, None)
        if connection is not None:
            connection.close()

    def _lost(self, target: Target, how: str) -> HostLost:
        self._dropped(target)
        return HostLost(
            f"{how}; the host ends what it does by itself",
            where=target.where,
            remedy="see what it did with pinwheel deploy.status",
        )

    @contextlib.contextmanager
    def _channel(self, connection: Any, target: Target, argv: Sequence[str]) -> Iterator[paramiko.Channel]:
        """One exec on the connection."""
        import paramiko

        with contextlib.ExitStack() as opened:
            try:
                channel = connection.transport.open_session(timeout=self._connect_s)
                opened.callback(self._done, channel, target)
                channel.settimeout(self._silence_s)
                with self._lock:
                    self._working.add(channel)
                # paramiko waits for the answer without an end
                with _deadline(self._connect_s, lambda: _close(channel)):
                    channel.exec_command(shlex.join(argv))  # the one place where argv becomes a shell line
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise HostUnreachable(
                    "it opens no channel",
                    where=target.where,
                    remedy="try again; is it overloaded, or MaxSessions of its SSH server too low?",
                ) from error
            yield channel

    def _done(self, channel: paramiko.Channel, target: Target) -> None:
        with self._lock:
            self._working.discard(channel)
        try:
            channel.close()
        except (OSError, EOFError):  # what it answered counts all the same; the next asking connects anew
            self._dropped(target)

    def _exit(self, connection: Any, target: Target, argv: Sequence[str]) -> int | None:
        with self._channel(connection, target, argv) as channel:
            _end_input(channel)
            answers = Answers(channel, self._silence_s)
            with contextlib.suppress(OSError, EOFError):
                answers.drain()
            return answers.exit_status

    def _connected(self, target: Target) -> Any:
        with self._lock:
            connection = self._open.get(target.name)
        if connection is not None and connection.is_connected:
            return connection
        connection = self._ways.connect(target)
        with self._lock:
            self._open[target.name] = connection
        return connection


@contextlib.contextmanager
def _deadline(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` if the block takes longer than `seconds`."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _send(channel: paramiko.Channel, data: bytes) -> None:
    """Send all of it, however long the window is full. Raises `TimeoutError` when the host takes nothing for too long.

    Whoever takes no more has ended, or we ended its input: what it answers, or its exit status, says why.
    """
    try:
        channel.sendall(data)
    except TimeoutError:
        raise
    except OSError:
        pass


def _close(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):  # it is gone already
        channel.close()


def _end_input(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):  # it is gone already
        channel.shutdown_write()
