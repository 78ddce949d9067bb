"""Hosts over SSH: Fabric finds the way in, then one raw channel per phase carries the runner and its answers.

Never Fabric's `run(in_stream=…)` (one byte per 10 ms), never its default of accepting any host key.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinwheel.deploy.diagnosis import diagnosed, last_line
from pinwheel.deploy.fleet import Target
from pinwheel.deploy.hosts import (
    HostKeyRejected,
    HostUnreachable,
    LoginRefused,
    OutcomeUnknown,
    StepRefused,
)
from pinwheel.deploy.wire import LOADER, Answers, framed, runner_source
from pinwheel.errors import PinwheelError, UsageError

if TYPE_CHECKING:
    import paramiko

CONNECT_S = 10
SILENCE_S = 15.0
"""A runner says something every 2 s; after this long without a word the host counts as lost."""

KEPT = 256
"""Connections that stay open between phases; the hosts beyond these are connected anew."""


class SshHosts:
    """`Hosts` over SSH, one connection per host. `known_hosts` and `identity_file` None: the user's own.

    Close it at the end: `with SshHosts(…) as hosts`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        known_hosts: Path | None = None,
        identity_file: Path | None = None,
        runner: bytes | None = None,
        silence_s: float = SILENCE_S,
        connect_s: int = CONNECT_S,
    ) -> None:
        """Raises `UsageError` when a named file is not there."""
        for file, key in ((known_hosts, "known_hosts"), (identity_file, "identity_file")):
            if file is not None and not file.is_file():
                raise UsageError("the file does not exist", where=str(file), remedy=f"correct {key} of the environment")
        self._targets = {each.name: each for each in targets}
        self._key = _private_key(identity_file) if identity_file else None
        self._silence_s = silence_s
        self._connect_s = connect_s
        self._runner = framed(runner if runner is not None else runner_source())
        self._known = _KnownHosts(known_hosts)
        self._open: dict[str, Any] = {}
        self._working: set[paramiko.Channel] = set()
        self._aborted = False
        self._lock = threading.Lock()
        # it logs tracebacks of dying connections, which we report in our own words
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        self._ssh_config = _ssh_config()

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

    def abort(self) -> None:
        """End the stdin of every runner that is at work, and of those that start from now on."""
        with self._lock:
            self._aborted = True
            working = list(self._working)
        for channel in working:
            _end_input(channel)

    def ask(self, host: str, request: Mapping[str, Any], heard: Callable[[str], None]) -> Mapping[str, Any]:
        target = self._targets[host]
        connection = self._connected(target)
        try:
            return self._asked(connection, target, request, heard)
        finally:
            with self._lock:
                spare = len(self._open) > KEPT and self._open.pop(host, None) is not None
            if spare:
                connection.close()

    def _asked(
        self, connection: Any, target: Target, request: Mapping[str, Any], heard: Callable[[str], None]
    ) -> Mapping[str, Any]:
        argv = (*target.become, target.layout.python, "-I", "-c", LOADER)
        with self._channel(connection, target, argv) as channel:
            answers = Answers(channel, self._silence_s)
            started = False
            try:
                channel.sendall(self._runner + framed(json.dumps(request).encode()))
                if self._aborted:
                    _end_input(channel)
                for answer in answers:
                    started = True
                    match answer.get("type"):
                        case "result":
                            return answer
                        case "error":
                            raise StepRefused(
                                str(answer.get("code", "unexpected")),
                                str(answer.get("problem", "")),
                                where=f"{target.name}: {answer.get('where', '')}".removesuffix(": "),
                                remedy=str(answer.get("remedy", "")),
                            )
                        case "progress":
                            heard(str(answer.get("text", "")))
            except (OSError, EOFError) as error:  # TimeoutError is one: nothing heard for too long
                problem = "is silent" if isinstance(error, TimeoutError) else "lost the connection"
                raise self._lost(target, problem) from error
            if answers.exit_status is None:
                raise self._lost(target, "lost the connection")
        if started:
            raise self._lost(target, f"stopped in the middle (exit {answers.exit_status}){last_line(answers.errors)}")
        raise diagnosed(target, answers.errors, lambda argv: self._exit(connection, target, argv))

    def _lost(self, target: Target, how: str) -> OutcomeUnknown:
        with self._lock:
            connection = self._open.pop(target.name, None)
        if connection is not None:
            connection.close()
        return OutcomeUnknown(
            f"{target.name} {how}; it ends what it does by itself",
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
                opened.callback(self._done, channel)
                channel.settimeout(self._silence_s)
                with self._lock:
                    self._working.add(channel)
                with _deadline(self._connect_s, channel.close):  # paramiko waits for the answer without an end
                    channel.exec_command(shlex.join(argv))  # the one place where argv becomes a shell line
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise HostUnreachable(
                    f"{target.name} opens no channel: {error}",
                    where=target.where,
                    remedy="try again; is it overloaded?",
                ) from error
            yield channel

    def _done(self, channel: paramiko.Channel) -> None:
        with self._lock:
            self._working.discard(channel)
        channel.close()

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
        connection = self._connection(target)
        with _translated(target, self._known):
            try:
                connection.open()
            except BaseException:
                connection.client.close()  # fabric's own close() does nothing before a login
                raise
        connection.transport.set_keepalive(5)
        with self._lock:
            self._open[target.name] = connection
        return connection

    def _connection(self, target: Target) -> Any:
        """Fabric's connection, not yet opened: `~/.ssh/config`, agent and gateways apply."""
        from fabric.config import Config
        from fabric.connection import Connection

        kwargs: dict[str, Any] = {
            "banner_timeout": self._connect_s,
            "auth_timeout": self._connect_s,
            "channel_timeout": self._connect_s,
            "transport_factory": _transport,
            "allow_agent": self._key is None,
            "look_for_keys": self._key is None,
        }
        if self._key is not None:
            kwargs["pkey"] = self._key
        # lazy: fabric's own files (fabric.yaml) are not ours; a Config of its own, because it is not safe to share
        settings = Config(  # type: ignore[no-untyped-call]
            lazy=True,
            ssh_config=self._ssh_config,
            overrides={"connect_kwargs": kwargs, "timeouts": {"connect": self._connect_s}},
        )
        connection = Connection(  # type: ignore[no-untyped-call]
            target.address,
            user=target.user or None,
            port=target.port if target.port != 22 else None,
            gateway=self._gateway(target.address, settings),
            config=settings,
        )
        hop: Any = connection
        while isinstance(hop, Connection):  # each gateway has a client that would accept any key
            self._known.guard(hop)
            hop = hop.gateway
        return connection

    def _gateway(self, address: str, settings: Any) -> Any:
        """The way that ProxyJump names; None leaves it to Fabric, False is a direct way.

        Fabric takes several jumps in the wrong order, and `none` for a host.
        """
        from fabric.connection import Connection, derive_shorthand

        jumps = self._ssh_config.lookup(address).get("proxyjump", "")
        if jumps.lower() == "none":
            return False
        gateway: Any = None
        for hop in filter(None, jumps.split(",")):
            if derive_shorthand(hop)["host"] == address:  # type: ignore[no-untyped-call]
                return False  # `Host *` in the configuration makes a bastion its own bastion
            gateway = Connection(hop, gateway=gateway, config=settings.clone())  # type: ignore[no-untyped-call]
        return gateway


class _KnownHosts:
    """The keys of known_hosts, read once. Strict: what is not in there is rejected."""

    def __init__(self, file: Path | None) -> None:
        import paramiko

        self.file = file or Path("~/.ssh/known_hosts").expanduser()
        self._keys = paramiko.HostKeys()
        files = [self.file] if file else [self.file, Path("/etc/ssh/ssh_known_hosts")]
        for each in files:
            if each.is_file():
                try:
                    self._keys.load(str(each))
                # ValueError: not text; InvalidHostKey is none of paramiko's SSHExceptions
                except (OSError, ValueError, paramiko.SSHException, paramiko.hostkeys.InvalidHostKey) as error:
                    raise UsageError(
                        f"it is no file of known hosts: {type(error).__name__}",
                        where=str(each),
                        remedy="name a file in the format of OpenSSH's known_hosts",
                    ) from error

    def guard(self, connection: Any) -> None:
        """Let the connection's client accept exactly the keys known for its host."""
        name = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
        for key in (self._keys.lookup(name) or {}).values():
            connection.client.get_host_keys().add(name, key.get_name(), key)
        connection.client.set_missing_host_key_policy(_reject())


@functools.cache
def _reject() -> Any:
    import paramiko

    class Reject(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
            raise _UnknownKey(hostname, f"{key.get_name()} {key.fingerprint}")

    return Reject()


class _UnknownKey(PinwheelError):
    """Carries the name and fingerprint from paramiko's policy to `_translated`."""

    def __init__(self, name: str, fingerprint: str) -> None:
        super().__init__(f"the key of {name} is not known")
        self.name = name
        self.fingerprint = fingerprint


@contextlib.contextmanager
def _translated(target: Target, known: _KnownHosts) -> Iterator[None]:
    """Turn what connecting raises into our errors, one line each."""
    import paramiko
    from paramiko.ssh_exception import NoValidConnectionsError

    where = target.where
    try:
        yield
    except _UnknownKey as error:
        raise HostKeyRejected(
            f"{target.name}: its host key is not known ({error.fingerprint})",
            where=where,
            remedy=f"compare the fingerprint with the host's own, then add its key for {error.name} to {known.file}",
        ) from None
    except paramiko.BadHostKeyException as error:
        raise HostKeyRejected(
            f"{target.name}: its host key has changed (now {error.key.get_name()} {error.key.fingerprint})",
            where=where,
            remedy=f"if the host was set up anew, replace its line in {known.file}; if not, somebody else answers",
        ) from error
    except paramiko.AuthenticationException as error:
        raise LoginRefused(
            f"{target.name}: the login is refused: {error}",
            where=where,
            remedy="check user and identity_file of the environment, and authorized_keys on the host",
        ) from error
    except (NoValidConnectionsError, ConnectionRefusedError) as error:
        raise HostUnreachable(
            f"{target.name}: nobody listens", where=where, remedy="is its SSH server running, and the port right?"
        ) from error
    except TimeoutError as error:
        raise HostUnreachable(
            f"{target.name}: no answer", where=where, remedy="is the host up, and the way to it open?"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise HostUnreachable(
            f"{target.name}: {str(error) or type(error).__name__}",
            where=where,
            remedy="check the address and the way to it",
        ) from error


def _transport(sock: Any, **kwargs: Any) -> Any:
    """paramiko's transport over a socket that notices a dead peer: unanswered bytes end it, not TCP's 15 minutes."""
    import paramiko

    if isinstance(sock, socket.socket):  # a gateway's channel is none
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE_S * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return paramiko.Transport(sock, **kwargs)


def _private_key(file: Path) -> Any:
    """The key of `identity_file`, read once for all hosts; with its certificate when that lies beside it."""
    import paramiko

    try:
        return paramiko.PKey.from_path(file)
    except (paramiko.PasswordRequiredException, TypeError) as error:  # TypeError: cryptography's, passed through
        raise UsageError(
            "the key has a passphrase", where=str(file), remedy="ssh-add it, and leave identity_file empty"
        ) from error
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, OSError) as error:
        raise UsageError(
            f"the key cannot be read: {error}", where=str(file), remedy="identity_file names an OpenSSH private key"
        ) from error


def _ssh_config() -> Any:
    """The user's and the system's SSH configuration, parsed once for all hosts."""
    import paramiko

    parsed = paramiko.SSHConfig()
    for file in (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")):
        if file.is_file():
            with file.open() as lines:
                parsed.parse(lines)
    return parsed


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


def _end_input(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):  # it is gone already
        channel.shutdown_write()
