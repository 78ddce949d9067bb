"""The root lab's hosts, whose work is counted: CPU by their control groups, logins and channels by their sshd."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci.bench.rollouts.cgroups import Group, groups
from tests.lab.rootlab import RootHost, RootLab

CONTROLLER = "controller"
LOGIN, CHANNEL = re.compile("Accepted publickey for"), re.compile("Starting session: ")
"""What sshd says at LogLevel VERBOSE of a connection, and of an exec or subsystem on it."""

SSHD_LOG = "/var/log/sshd.log"
TALKATIVE = "echo LogLevel VERBOSE >/etc/ssh/sshd_config.d/20-bench.conf"


@dataclass(frozen=True, slots=True)
class Counted:
    """What hosts have done: CPU of all, connections and channels of all."""

    cpu_s: float
    logins: int
    channels: int

    def __sub__(self, before: Counted) -> Counted:
        return Counted(self.cpu_s - before.cpu_s, self.logins - before.logins, self.channels - before.channels)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running lab, with a control group for each host and one for the subject that is measured."""

    lab: RootLab
    hosts: dict[str, RootHost]
    groups: dict[str, Group]

    @property
    def controller(self) -> Group:
        return self.groups[CONTROLLER]

    def counted(self, names: Sequence[str]) -> Counted:
        """What these hosts have done since they started."""
        logs = [self.hosts[name].exec("cat", SSHD_LOG).output for name in names]
        return Counted(
            sum(self.groups[name].cpu_s() for name in names),
            sum(len(LOGIN.findall(log)) for log in logs),
            sum(len(CHANNEL.findall(log)) for log in logs),
        )


@contextlib.contextmanager
def fleet(folder: Path, names: Sequence[str]) -> Iterator[Fleet]:
    """Start hosts of these names, and count."""
    with RootLab(folder, names) as lab, groups(CONTROLLER, *names) as made:
        hosts = dict(lab.hosts)
        for name, host in hosts.items():
            host.exec("sh", "-c", TALKATIVE)
            host.kill_sshd()
            host.start_sshd()
            # not before: what is started from outside stays in our own group
            made[name].take(Path(f"/proc/{host.pid}/ns/pid").stat().st_ino)
        yield Fleet(lab, hosts, made)
