"""The subjects of the deploy bench: what each is called, and the command that does a piece of work its way."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci.bench import peer_venvs
from ci.bench.rollouts import work
from ci.bench.rollouts.work import Work

HERE = Path(__file__).parent
FABRIC_UV = "Fabric + uv, step by step"

ANSIBLE_CFG = """
[defaults]
forks = {forks}
[ssh_connection]
pipelining = True
control_path_dir = {home}/cp
"""
"""As many forks as a batch has hosts, and pipelining: as one has it who cares for speed."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, and what its environment has beside that of everybody."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """`key` is its name on hosts and for `--only`. A slow one has a turn in the first round alone."""

    key: str
    name: str
    command: Callable[[Work, Path], Command]
    slow: bool = False


def peers() -> tuple[Peer, ...]:
    """All, in the order of the table."""
    return (
        Peer("ansible", "Ansible", ansible, slow=True),
        Peer("pyinfra", "pyinfra", pyinfra, slow=True),
        Peer("fabric-pip", "Fabric + pip, step by step", _steps("fabric_steps.py", "pip"), slow=True),
        Peer("fabric-uv", FABRIC_UV, fabric_uv, slow=True),
        Peer("script-uv", "one script, uv", _steps("script_steps.py", "uv")),
        Peer("script-clone", "one script, cloned release", _steps("script_steps.py", "clone")),
    )


def fabric_uv(wanted: Work, folder: Path) -> Command:
    """Fabric with one command for each step, and uv on the hosts."""
    return _steps("fabric_steps.py", "uv")(wanted, folder)


def ansible(wanted: Work, folder: Path) -> Command:
    """One play, whose inventory holds what the hosts are to get."""
    document = work.document(wanted)
    hosts = {
        name: {
            "ansible_host": host["address"],
            "ansible_port": host["port"],
            "ansible_python_interpreter": "/usr/bin/python3",
            "here": host,
        }
        for name, host in document["hosts"].items()
    }
    everybody = {
        "ansible_user": wanted.user,
        "ansible_ssh_private_key_file": wanted.identity_file,
        "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={wanted.known_hosts}",
        **{key: document[key] for key in ("requirements", "index_url", "module")},
    }
    inventory = folder / "ansible-hosts.yml"  # JSON is YAML
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": everybody}}))
    program = str(peer_venvs.program("ansible", "ansible-playbook"))
    playbook = str(HERE / "ansible_steps.yml")
    settings = folder / "ansible.cfg"
    settings.write_text(ANSIBLE_CFG.format(home=folder / "ansible", forks=wanted.batch))
    # it starts with no other encoding
    env = {"ANSIBLE_CONFIG": str(settings), "ANSIBLE_HOME": str(folder / "ansible"), "LC_ALL": "C.UTF-8"}
    return Command((program, "-i", str(inventory), "-e", f"batch={wanted.batch}", playbook), env)


def pyinfra(wanted: Work, folder: Path) -> Command:
    """One run of its program for each batch, for it knows none."""
    wish = _written(wanted, folder)
    program = str(peer_venvs.program("pyinfra", "pyinfra"))
    argv = (program, "-y", "--fail-percent", "0", str(HERE / "pyinfra_hosts.py"), str(HERE / "pyinfra_steps.py"))
    runs = (
        shlex.join((*argv, *(word for name in names for word in ("--limit", name)))) for names in work.batches(wanted)
    )
    return Command(("/bin/sh", "-c", " && ".join(runs)), {"BENCH_WISH": str(wish)})


def _steps(script: str, how: str) -> Callable[[Work, Path], Command]:
    def command(wanted: Work, folder: Path) -> Command:
        return Command((sys.executable, "-P", str(HERE / script), str(_written(wanted, folder)), how))

    return command


def _written(wanted: Work, folder: Path) -> Path:
    wish = folder / f"{wanted.subject}.json"
    wish.write_text(json.dumps(work.document(wanted)))
    return wish
