"""The way in to a host: Fabric's connection, through bastions if need be, and why there is none.

Never Fabric's default of accepting any host key.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.reaching.diagnosis import HUNG_UP, unreachable
from pinwheel.deploy.reaching.hosts import (
    HostKeyRejected,
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
    NotTouched,
)
from pinwheel.deploy.reaching.known_hosts import KnownHosts, UnknownKey
from pinwheel.deploy.reaching.ssh_config import ssh_config
from pinwheel.errors import UsageError

CONNECT_S = 10
SILENCE_S = 15.0
"""A runner says something every 2 s; after this long without a word the host counts as lost."""

KEEPALIVE_S = 5

SHARED_BY = 64
"""Hosts that share one connection to their bastion. One thread deciphers all that comes over it, and when it breaks,
all of them are lost."""


class Ways:
    """Connects to hosts; those behind the same bastion share a connection to it. Close it at the end."""

    def __init__(
        self,
        targets: Sequence[Target],
        known: KnownHosts,
        identity_file: Path | None,
        connect_s: int,
    ) -> None:
        """Raises `UsageError`."""
        self._known = known
        self._key = _private_key(identity_file) if identity_file else None
        self._connect_s = connect_s
        self._share = {each.name: number // SHARED_BY for number, each in enumerate(targets)}
        self._bastions: dict[tuple[int, str], Bastion] = {}
        self._lock = threading.Lock()
        # it logs tracebacks of dying connections, which we report in our own words
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        self._ssh_config = ssh_config()

    def connect(self, target: Target) -> Any:
        """A connection to `target`, logged in. Raises `NotTouched`."""
        connection = self.connection(target)
        try:
            with _translated(target, connection, self._known):
                for bastion in self._on_the_way(connection):
                    bastion.open()
                connection.open()
        except BaseException:
            connection.client.close()  # fabric's own close() does nothing before a login
            raise
        connection.transport.set_keepalive(KEEPALIVE_S)
        return connection

    def connection(self, target: Target) -> Any:
        """Fabric's connection, not yet opened: `~/.ssh/config`, agent and gateways apply."""
        from fabric.connection import Connection

        settings = self._settings()
        connection = Connection(  # type: ignore[no-untyped-call]
            target.address,
            user=target.user or None,
            port=target.port if target.port != 22 else None,
            gateway=self._gateway(target),
            config=settings,
        )
        self._known.guard(connection)  # its client would accept any key
        return connection

    def close(self) -> None:
        """Let go of the bastions."""
        with self._lock:
            bastions, self._bastions = list(self._bastions.values()), {}
        for each in bastions:
            each.connection.client.close()

    def _settings(self) -> Any:
        from fabric.config import Config

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
        return Config(  # type: ignore[no-untyped-call]
            lazy=True,
            ssh_config=self._ssh_config,
            overrides={"connect_kwargs": kwargs, "timeouts": {"connect": self._connect_s}},
        )

    def _gateway(self, target: Target) -> Any:
        """The way that ProxyJump names; None leaves it to Fabric, False is a direct way.

        Fabric takes several jumps in the wrong order, and `none` for a host.
        """
        from fabric.connection import Connection, derive_shorthand

        address = target.address
        jumps = self._ssh_config.lookup(address).get("proxyjump", "")
        if jumps.lower() == "none":
            return False
        gateway: Any = None
        passed = ""
        for hop in filter(None, jumps.split(",")):
            if derive_shorthand(hop)["host"] == address:  # type: ignore[no-untyped-call]
                return False  # `Host *` in the configuration makes a bastion its own bastion
            passed = f"{passed},{hop}"
            key = (self._share[target.name], passed)
            with self._lock:
                if key not in self._bastions:
                    made = Connection(hop, gateway=gateway, config=self._settings())  # type: ignore[no-untyped-call]
                    self._known.guard(made)
                    self._bastions[key] = Bastion(made)
                gateway = self._bastions[key].connection
        return gateway

    def _on_the_way(self, connection: Any) -> list[Bastion]:
        """The bastions before `connection`, in the order in which they are passed."""
        with self._lock:
            shared = {id(each.connection): each for each in self._bastions.values()}
        return [shared[id(hop)] for hop in reversed(_hops(connection)) if id(hop) in shared]


class Bastion:
    """A connection that many hosts are reached through. The first of them opens it, and anew once it has broken."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._tries = 0
        self._failure: Exception | None = None

    def open(self) -> None:
        """Raises what connecting raises, to all who waited for the same try: one after the other they would wait for
        hours."""
        tries = self._tries
        with self._lock:
            if self.connection.is_connected:
                return
            if self._failure and self._tries > tries:
                raise self._failure
            self._tries, self._failure = self._tries + 1, None
            try:
                self.connection.open()
                self.connection.transport.set_keepalive(KEEPALIVE_S)
            except Exception as error:
                self._failure = error
                self.connection.client.close()  # fabric's own close() does nothing before a login
                raise


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
        if isinstance(error, UnknownKey) and kind is HostKeyUnknown:
            raise HostKeyUnknown(problem, where=target.where, remedy=remedy, key=error.key) from error
        raise kind(problem, where=target.where, remedy=remedy) from error


Explained = tuple[type[NotTouched], str, str]
"""The kind of a failure, the problem and the remedy."""


def _explained(error: BaseException, transport: Any, known: KnownHosts) -> Explained:
    """By the types of errors, their numbers, and how far `transport` came: libraries' texts are for their authors."""
    import paramiko
    from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

    changed = f"if the host was set up anew, replace its line in {known.file}; if not, somebody else answers"
    match error:
        case UnknownKey(key=key) if known.revoked(key):
            remedy = f"its line in {known.file} says so; give the host another key"
            return HostKeyRejected, f"its host key is revoked ({key.kind} {key.fingerprint})", remedy
        case UnknownKey(key=key) if known.others(key):
            return HostKeyRejected, f"its host key has changed (now {key.kind} {key.fingerprint})", changed
        case UnknownKey(key=key):
            remedy = (
                f"compare the fingerprint with the host's own, then add its key for {key.name} to {known.file}: "
                "pinwheel deploy.bootstrap --env ENV --scan-host-keys"
            )
            return HostKeyUnknown, f"its host key is not known ({key.kind} {key.fingerprint})", remedy
        case paramiko.BadHostKeyException():
            problem = f"its host key has changed (now {error.key.get_name()} {error.key.fingerprint})"
            return HostKeyRejected, problem, changed
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
