"""`index.serve`, the verb: claims the address and the data folder, then lets workers answer."""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pinwheel.console import say
from pinwheel.errors import PinwheelError, UsageError, describe
from pinwheel.index.server.claims import claimed, locked, taken_told
from pinwheel.index.server.workers import Workers

WORKER = "PINWHEEL_WORKER"
"""The environment variable that makes the command a worker of the one that was typed."""
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Given:
    """What a worker has from its parent: a listening socket, and a pipe to tell in that it is ready."""

    listening: int
    ready: int
    parent: int


def working() -> Given | None:
    """What this process was given if it is a worker; only the first call tells."""
    text = os.environ.pop(WORKER, "")
    return Given(*map(int, text.split(","))) if text else None


def serve(
    folder: Path,
    *,
    host: str,
    port: int,
    workers: int,
    drain_s: float,
    tls: tuple[Path, Path] | None,
    prepare: Callable[[], None],
    worker: Callable[[Given], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    `prepare` runs once the folder is ours, before anybody is served; `worker` is what a worker does.

    SIGHUP ends a server that has a terminal (it was closed), unless it was started with nohup; one without a terminal
    replaces its workers. Port 0 takes a free one. `tls` is a certificate chain and its key. Raises `PinwheelError` when
    the port is taken or no worker starts, `UsageError` for a certificate that is none, `Refused` when the folder is in
    use.
    """
    if tls:
        check_certificate(*tls)
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    hangup = None if outlives_terminal else False
    if not _has_terminal():
        hangup = True
    with locked(folder), claimed(host, port) as listening:
        prepare()
        with taken_told(host, port):
            listening.listen(BACKLOG)
        listening.setblocking(False)
        number = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        line = f"serving {folder} at {'https' if tls else 'http'}://{shown}:{number}/"
        fileno, parent = listening.fileno(), os.getpid()
        Workers(
            first=lambda ready: _forked(worker, Given(fileno, ready, parent)),
            later=lambda ready: _started(Given(fileno, ready, parent)),
            count=workers,
            drain_s=drain_s,
        ).run(lambda: say(line), hangup=hangup)


def _has_terminal() -> bool:
    """Asked at the start: when a terminal is closed, it is gone before the signal is handled."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _forked(worker: Callable[[Given], None], given: Given) -> int:
    """A worker as a copy of this process, which has the code in memory: half the time and memory of a new one."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        os.setpgid(0, 0)  # Ctrl-C is for its parent
        worker(given)
        code = 0
    except PinwheelError as error:
        say(describe(error))
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - what would end a process of its own ends this one, which must not return
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _started(given: Given) -> int:
    """The same command once more, as a worker: with the code and the configuration that are on disk now."""
    for inherited in (given.listening, given.ready):
        os.set_inheritable(inherited, True)
    try:
        return os.posix_spawn(
            sys.executable,
            (sys.executable, *sys.orig_argv[1:]),
            os.environ | {WORKER: f"{given.listening},{given.ready},{given.parent}"},
            file_actions=((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),),
            setpgroup=0,
        )
    finally:
        os.set_inheritable(given.listening, False)


def check_certificate(chain: Path, key: Path) -> None:
    """Raise `UsageError` unless granian will be able to use them."""
    try:
        # a password that is wrong: without any, OpenSSL would ask the terminal for it
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
    except OSError as error:  # which ssl.SSLError is
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(
            f"the certificate and its key cannot be used: {reason or error}",
            where=f"{chain}, {key}",
            remedy="--tls-cert takes a certificate chain and --tls-key its key without a password, both as PEM",
        ) from error
