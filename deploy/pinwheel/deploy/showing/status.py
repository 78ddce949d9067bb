"""What hosts run, as people and scripts see it: one line for each application on each host, or for many alike. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pinwheel.deploy.host.space import MIB
from pinwheel.deploy.planning.facts import RUNNING, HostFacts, Installed, Process, Record
from pinwheel.deploy.planning.outcome import Outcome, so_many
from pinwheel.deploy.planning.releases import version_of
from pinwheel.deploy.showing import outcomes

Known = Mapping[str, HostFacts | Outcome]

COLUMNS = ("host", "application", "version", "since", "by", "processes", "up", "memory", "")
ALIKE_ABOVE = 20
"""So many lines are shown one by one; of more, those that say the same become one."""

_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


@dataclass(frozen=True, slots=True)
class Line:
    """One application on `hosts`. `uptime_s` is that of the youngest process, None when none runs; `since` that of the
    oldest release; `memory_bytes` is the most that a host needs."""

    hosts: tuple[str, ...]
    application: str = ""
    version: str = ""
    since: str = ""
    by: str = ""
    processes: str = ""
    uptime_s: int | None = None
    memory_bytes: int = 0
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        up = "" if self.uptime_s is None else duration(self.uptime_s)
        memory = f"{self.memory_bytes / MIB:.0f} MiB" if self.memory_bytes else ""
        more = f" and {len(self.hosts) - 2} more" if len(self.hosts) > 2 else ""
        names = ", ".join(self.hosts[:2]) + more
        return (names, self.application, self.version, self.since, self.by, self.processes, up, memory, self.note)


def lines(known: Known, application: str = "") -> list[Line]:
    """One for each application on each host; one for a host without any."""
    found: list[Line] = []
    for name, told in known.items():
        if isinstance(told, Outcome):
            found.append(Line((name,), processes=told.ending, note=outcomes.one_line(told)))
            continue
        here = {key: each for key, each in told.applications.items() if application in ("", key)}
        if not here:
            state = "nothing" if told.ready else "not ready"
            found.append(Line((name,), application, processes=state, note=", ".join(told.missing)))
        found += [_line(name, key, each) for key, each in here.items()]
    return found


def alike(every: Sequence[Line]) -> list[Line]:
    """The same with those of one application that say the same put together, the larger groups first: what is out of
    the ordinary stands at the end."""
    groups: dict[Line, Line] = {}
    for each in every:
        key = replace(each, hosts=(), since="", uptime_s=None, memory_bytes=0)
        other = groups.get(key)
        groups[key] = each if other is None else _both(other, each)
    return sorted(groups.values(), key=lambda each: -len(each.hosts))


def summary(known: Known, environment: str, application: str = "") -> list[str]:
    """The fleet at a glance: a line for the hosts, and one for each application."""
    away = sum(isinstance(each, Outcome) for each in known.values())
    bare = sum(isinstance(each, HostFacts) and not each.ready for each in known.values())
    troubles = [f"{number} {word}" for number, word in ((away, "unreachable"), (bare, "not ready")) if number]
    said = [f"{environment}: {so_many(len(known))}" + (f"; {', '.join(troubles)}" if troubles else "")]
    for name, counts in _counts(known, application).items():
        versions = Counter(counts["versions"])
        where = ", ".join(f"{version or 'nothing'} on {so_many(number)}" for version, number in versions.most_common())
        odd = [f"{counts[key]} {word}" for key, word in _ODD if counts[key]]
        said.append(f"{name}: {where}" + (f"; {', '.join(odd)}" if odd else ""))
    return said


def document(known: Known, environment: str, application: str = "") -> dict[str, Any]:
    away = sum(isinstance(each, Outcome) for each in known.values())
    return {
        "environment": environment,
        "summary": {
            "hosts": len(known),
            "unreachable": away,
            "applications": _counts(known, application),
        },
        "hosts": [_host_document(name, told, environment, application) for name, told in known.items()],
    }


def duration(seconds: float) -> str:
    """`3d 4h`: the two largest units."""
    for size, unit, smaller, rest in _UNITS:
        if seconds >= size:
            left = int(seconds % size // smaller)
            return f"{int(seconds // size)}{unit}" + (f" {left}{rest}" if left else "")
    return f"{seconds:.0f}s"


_ODD = (("unhealthy", "not healthy"), ("drift", "with drift"), ("in_doubt", "in doubt"))


def _counts(known: Known, application: str) -> dict[str, dict[str, Any]]:
    """For each application: how many hosts run which version, and on how many something is not as it should be."""
    found: dict[str, dict[str, Any]] = {}
    for told in known.values():
        for name, each in told.applications.items() if isinstance(told, HostFacts) else ():
            if application in ("", name):
                counts = found.setdefault(name, {"versions": {}, "unhealthy": 0, "drift": 0, "in_doubt": 0})
                version = _version(each)
                counts["versions"][version] = counts["versions"].get(version, 0) + 1
                counts["unhealthy"] += each.current is not None and not each.healthy
                counts["drift"] += each.drift
                counts["in_doubt"] += each.in_doubt
    return dict(sorted(found.items()))


def _line(host: str, application: str, each: Installed) -> Line:
    notes = [word for word, true in (("drift", each.drift), ("in doubt", each.in_doubt)) if true]
    notes += [each.unsupported] if each.unsupported else []
    if each.last and each.last.event not in ("commit", "begin"):
        notes.append(_went(each.last))
    running = [process.uptime_s for process in each.processes if process.state == RUNNING]
    return Line(
        (host,),
        application,
        _version(each),
        each.deployed_at,
        each.deployed_by,
        _states(each.processes) if each.processes else "nothing runs",
        min(running, default=None),
        sum(process.memory_bytes for process in each.processes),
        ", ".join(notes),
    )


def _both(one: Line, other: Line) -> Line:
    ages = [each for each in (one.uptime_s, other.uptime_s) if each is not None]
    return replace(
        one,
        hosts=one.hosts + other.hosts,
        since=min(one.since, other.since),
        uptime_s=min(ages, default=None),
        memory_bytes=max(one.memory_bytes, other.memory_bytes),
    )


def _states(processes: Sequence[Process]) -> str:
    """`2 RUNNING`, and by name those that do not run."""
    down = [f"{each.program} {each.state}" for each in processes if each.state != RUNNING]
    up = len(processes) - len(down)
    return ", ".join([*([f"{up} {RUNNING}"] if up else []), *down])


def _went(last: Record) -> str:
    version = version_of(last.release) or last.release
    return f"{last.event} {version} on {last.at[:10]}: {' '.join(last.reason.split())}"


def _host_document(name: str, told: HostFacts | Outcome, environment: str, application: str) -> dict[str, Any]:
    if isinstance(told, Outcome):
        return {"name": name, "reachable": False, "reason": told.reason, "remedy": told.remedy, "applications": []}
    return {
        "name": name,
        "reachable": True,
        "ready": told.ready,
        "python": told.python,
        "uv": told.uv,
        "supervisor": told.supervisor,
        "free_bytes": told.free_bytes,
        "fence": told.fence.get(environment, 0),
        # beside the applications, of which everything else stays as it is until somebody does something
        "memory_bytes": {
            key: sum(process.memory_bytes for process in each.processes)
            for key, each in told.applications.items()
            if application in ("", key)
        },
        "applications": [
            _application_document(key, each) for key, each in told.applications.items() if application in ("", key)
        ],
    }


def _application_document(name: str, each: Installed) -> dict[str, Any]:
    last = each.last
    return {
        "application": name,
        "version": _version(each),
        "release": each.current or "",
        **_origin(each),
        "healthy": each.healthy,
        "deployed_at": each.deployed_at,
        "deployed_by": each.deployed_by,
        "rollout": each.deployed_in,
        "processes": [
            {
                "program": one.program,
                "pid": one.pid,
                "state": one.state,
                "since": one.since,
            }
            for one in each.processes
        ],
        "drift": each.drift,
        "in_doubt": each.in_doubt,
        "colour": each.colour,
        "unsupported": each.unsupported,
        "last": last
        and {
            "outcome": last.event,
            "at": last.at,
            "by": last.by,
            "rollout": last.rollout,
            "release": last.release,
            "previous": last.previous,
            "reason": last.reason,
        },
    }


def _origin(installed: Installed) -> dict[str, str]:
    """Where what runs comes from; `signer` says who has signed that, empty when it is not proven."""
    release = installed.release(installed.current)
    return {"commit": release.commit, "signer": release.signer} if release else {"commit": "", "signer": ""}


def _version(installed: Installed) -> str:
    release = installed.release(installed.current)
    if release:
        return release.version
    # its marker is gone, so the host does not count it as complete; the name still tells
    return version_of(installed.current or "")
