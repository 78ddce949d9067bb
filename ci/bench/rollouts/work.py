"""The work that every subject of the deploy bench does: one version, to these hosts, with this conf and this gate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

APPLICATION = "bench-app"
MODULE = "bench_app"

GATE_DEADLINE_S = 10.0
HEALTH = {"passes": 2, "interval_s": 0.1, "min_healthy_s": 0.0, "deadline_s": GATE_DEADLINE_S}
"""The gate, as pinwheel.toml has it."""

GATE = (
    "import sys,time,urllib.request as u\n"
    f"end=time.monotonic()+{GATE_DEADLINE_S}; good=0\n"
    f"while good<{HEALTH['passes']} and time.monotonic()<end:\n"
    "    try: good=good+1 if u.urlopen(sys.argv[1],timeout=2).status<400 else 0\n"
    "    except OSError: good=0\n"
    f"    time.sleep({HEALTH['interval_s']})\n"
    f"sys.exit(good<{HEALTH['passes']})"
)
"""The same gate for those who have none, as a program for the host's Python; its argument is the address."""

CONF = """[program:{program}]
command={command}
directory={root}
autostart=true
autorestart=true
startsecs=1
stopsignal=TERM
stopwaitsecs=10
killasgroup=true
redirect_stderr=true
stdout_logfile={root}/log/{program}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""
"""What pinwheel's own file for supervisor says, less the group."""


@dataclass(frozen=True, slots=True)
class Place:
    """One host as one subject uses it: how it is reached, and where its things are there."""

    name: str
    address: str
    port: int
    root: str
    conf_dir: str
    python: str
    uv: str
    supervisorctl: tuple[str, ...]
    app_port: int


@dataclass(frozen=True, slots=True)
class Work:
    """`requirements` are pins with hashes, one a line. `become` stands before each command; `run_as` is the
    application's user, or empty; `command` may name `{release}` and `{port}`. `batch` hosts are done at a time."""

    subject: str
    version: str
    requirements: tuple[str, ...]
    index_url: str
    places: tuple[Place, ...]
    batch: int
    user: str
    identity_file: str
    known_hosts: str
    become: tuple[str, ...]
    run_as: str
    command: str


def batch_size(hosts: int) -> int:
    """A quarter of them, rounded up as pinwheel does it."""
    return math.ceil(hosts / 4)


def batches(work: Work) -> list[list[str]]:
    """The hosts' names, cut into batches."""
    names = [place.name for place in work.places]
    return [names[at : at + work.batch] for at in range(0, len(names), work.batch)]


def pins(requirements: str) -> tuple[str, ...]:
    """The lines of a requirements.txt with each pin and all of its hashes on one line."""
    lines = (" ".join(line.split()) for line in requirements.replace("\\\n", " ").splitlines())
    return tuple(sorted(line for line in lines if line and not line.startswith("#")))


def document(work: Work) -> dict[str, Any]:
    """The work as the peers' scripts read it, JSON; what depends on the host is spelled out for each."""
    return {
        **{key: value for key, value in asdict(work).items() if key not in ("places", "command", "requirements")},
        "requirements": "".join(f"{line}\n" for line in work.requirements),
        "module": MODULE,
        "batches": batches(work),
        "hosts": {place.name: _host(work, place) for place in work.places},
    }


def _host(work: Work, place: Place) -> dict[str, Any]:
    release = f"{place.root}/releases/{work.version}"
    command = work.command.format(release=release, port=place.app_port)
    conf = CONF.format(program=work.subject, command=command, root=place.root)
    return {
        **asdict(place),
        "release": release,
        "conf": conf + (f"user={work.run_as}\n" if work.run_as else ""),
        "conf_file": f"{place.conf_dir}/{work.subject}.conf",
        "gate": [place.python, "-c", GATE, url(place)],
    }


def url(place: Place) -> str:
    """The application's address as its own host knows it."""
    return f"http://127.0.0.1:{place.app_port}/"
