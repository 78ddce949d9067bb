"""Hosts over SSH: Fabric finds the way in, then one raw channel per phase carries the runner and its answers.

Never Fabric's `run(in_stream=…)` (one byte per 10 ms), never its default of accepting any host key.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinwheel.deploy.host.bundle import LOADER, bundle
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.reaching.diagnosis import HUNG_UP, diagnosed, last_line, unreachable
from pinwheel.deploy.reaching.hosts import (
    HostKeyRejected,
    HostLost,
    HostUnreachable,
    LoginRefused,
    NotTouched,
    StepRefused,
    Told,
    untold,
)
from pinwheel.deploy.reaching.known_hosts import KnownHosts, UnknownKey
from pinwheel.deploy.reaching.wire import Answers, framed
from pinwheel.errors import UsageError

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
        sent: Callable[[str], bytes] = bundle,
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
        self._bundle = sent
        self._known = KnownHosts(known_hosts)
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

    def ask(
        self, host: str, request: Mapping[str, Any], heard: Callable[[str], None], told: Told = untold
    ) -> Mapping[str, Any]:
        target = self._targets[host]
        connection = self._connected(target)
        try:
            return self._asked(connection, target, request, heard, told)
        finally:
            with self._lock:
                spare = len(self._open) > KEPT and self._open.pop(host, None) is not None
            if spare:
                connection.close()

    def _asked(
        self, connection: Any, target: Target, request: Mapping[str, Any], heard: Callable[[str], None], told: Told
    ) -> Mapping[str, Any]:
        argv = (*target.become, target.layout.python, "-I", "-c", LOADER)
        with self._channel(connection, target, argv) as channel:
            answers = Answers(channel, self._silence_s)
            started = False
            try:
                channel.sendall(framed(self._bundle(request["action"])) + framed(json.dumps(request).encode()))
                if self._aborted:
                    _end_input(channel)
                for answer in answers:
                    started = True
                    match answer.get("type"):
                        case "result":
                            return answer
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

    def _lost(self, target: Target, how: str) -> HostLost:
        with self._lock:
            connection = self._open.pop(target.name, None)
        if connection is not None:
            connection.close()
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
                opened.callback(self._done, channel)
                channel.settimeout(self._silence_s)
                with self._lock:
                    self._working.add(channel)
                with _deadline(self._connect_s, channel.close):  # paramiko waits for the answer without an end
                    channel.exec_command(shlex.join(argv))  # the one place where argv becomes a shell line
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise HostUnreachable(
                    "it opens no channel",
                    where=target.where,
                    remedy="try again; is it overloaded, or MaxSessions of its SSH server too low?",
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
        try:
            with _translated(target, connection, self._known):
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
        for hop in _hops(connection):  # each gateway has a client that would accept any key
            self._known.guard(hop)
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


def _hops(connection: Any) -> list[Any]:
    """The connection and the gateways that lead to it, the first that is opened at the end."""
    from fabric.connection import Connection

    hops = [connection]
    while isinstance(hops[-1].gateway, Connection):
        hops.append(hops[-1].gateway)
    return hops


@contextlib.contextmanager
def _translated(target: Target, connection: Any, known: KnownHosts) -> Iterator[None]:
    """Turn what connecting raises into our errors, one line each."""
    import paramiko

    try:
        yield
    # UnicodeError: an address that cannot be a name (a..b)
    except (UnknownKey, paramiko.SSHException, OSError, EOFError, UnicodeError) as error:
        # fabric knows the transport of a hop once it has logged in there
        hop = next((each for each in reversed(_hops(connection)) if not each.is_connected), connection)
        kind, problem, remedy = _explained(error, hop.client.get_transport(), known)
        if hop is not connection:
            problem = f"the jump host {hop.host}: {problem}"
        raise kind(problem, where=target.where, remedy=remedy) from error


Explained = tuple[type[NotTouched], str, str]
"""The kind of a failure, the problem and the remedy."""


def _explained(error: BaseException, transport: Any, known: KnownHosts) -> Explained:
    """By the types of errors, their numbers, and how far `transport` came: libraries' texts are for their authors."""
    import paramiko
    from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

    match error:
        case UnknownKey():
            remedy = f"compare the fingerprint with the host's own, then add its key for {error.name} to {known.file}"
            return HostKeyRejected, f"its host key is not known ({error.fingerprint})", remedy
        case paramiko.BadHostKeyException():
            problem = f"its host key has changed (now {error.key.get_name()} {error.key.fingerprint})"
            remedy = f"if the host was set up anew, replace its line in {known.file}; if not, somebody else answers"
            return HostKeyRejected, problem, remedy
        case paramiko.AuthenticationException():
            remedy = "check user and identity_file of the environment, and authorized_keys on the host"
            return LoginRefused, "the login is refused", remedy
        case paramiko.ChannelException():
            remedy = "check the address as the jump host sees it, and AllowTcpForwarding there"
            return HostUnreachable, "the jump host opens no way to it", remedy
        case IncompatiblePeer():
            return HostUnreachable, "its SSH server knows no method that we know", "update its SSH server"
        case paramiko.ProxyCommandFailure():
            return HostUnreachable, "the ProxyCommand that leads to it fails", "correct it in your SSH configuration"
        case NoValidConnectionsError():
            each = [one for one in error.errors.values() if isinstance(one, OSError)]  # one for each of its addresses
            # a refusal tells more than a way that is not there
            return HostUnreachable, *unreachable(min(each, key=lambda one: not isinstance(one, ConnectionRefusedError)))
        case OSError():
            return HostUnreachable, *unreachable(error)
        case UnicodeError():
            return HostUnreachable, "its address cannot be the name of a host", "correct its address"
    if transport is None or not transport.remote_version:
        remedy = "is the port right? An SSH server that is overloaded hangs up like this, too (MaxStartups)"
        return HostUnreachable, "what answers there does not speak as an SSH server does", remedy
    if transport.is_active() and not transport.is_authenticated():
        remedy = "set identity_file of the environment, or ssh-add a key"
        return LoginRefused, "there is no key to log in with", remedy
    return HostUnreachable, *HUNG_UP


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
        why = f"the key cannot be read: {error.strerror}" if isinstance(error, OSError) else "it is no private key"
        raise UsageError(why, where=str(file), remedy="let identity_file name an OpenSSH private key") from error


def _ssh_config() -> Any:
    """The user's and the system's SSH configuration, parsed once for all hosts."""
    import paramiko

    parsed = paramiko.SSHConfig()
    for file in (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")):
        if file.is_file():
            try:
                with file.open() as lines:
                    parsed.parse(lines)
            except (OSError, UnicodeError, paramiko.ConfigParseError) as error:
                why = (
                    f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else "it cannot be understood"
                )
                raise UsageError(why, where=str(file), remedy="correct it; `ssh -G HOST` names the line") from error
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
