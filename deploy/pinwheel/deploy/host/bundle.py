"""What is sent to a host for an action: the runner, and the errands that the action needs."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from pinwheel.deploy.host.launcher import INTERFACE

LAUNCHER = f"launch-{INTERFACE}.py"
"""The launcher's file below `bin` on a host. It is not sent to be run at once, but to be kept there."""

TRANSACTION = ("gate", "files", "wire", "supervisord", "generation", "runner")
"""What every action needs: it may have to end what was cut off before."""

ERRANDS = {
    "facts": ("means", "look"),
    "survey": ("means", "look", "install", "space", "receive", "bootstrap"),
    "bootstrap": ("means", "look", "install", "space", "receive", "bootstrap"),
    "prepare": ("means", "clone", "install", "space", "receive", "kept_secrets", "prune", "prepare"),
    "activate": (),
    "logs": ("logs",),
    "weigh": ("kept_secrets", "prune"),
    "prune": ("kept_secrets", "prune"),
    "run": ("kept_secrets", "command"),
    "task": ("kept_secrets", "command"),
}
"""The modules that each action needs beside the transaction, each after those that it imports."""

LOADER = """
import json, sys, types, zlib
read = sys.stdin.buffer.read
for name, source in json.loads(zlib.decompress(read(int.from_bytes(read(8), "big")))).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name.rpartition(".")[2] + ".py", "exec"), module.__dict__)
sys.modules["pinwheel.deploy.host.runner"].main(getattr(module, "ACTIONS", {}))
""".strip()
"""What runs as `python -I -c LOADER`: it reads eight bytes of length and a bundle from stdin. The runner reads on from
the same buffered stdin. The modules find each other in `sys.modules`, under the names that they have here."""


@functools.cache
def bundle(action: str) -> bytes:
    """The modules for `action`, as the loader takes them. Their files are read as they lie beside this module."""
    return packed({name: _source(name) for name in (*TRANSACTION, *ERRANDS[action])})


@functools.cache
def launcher() -> dict[str, str]:
    """The launcher as the host keeps it: its file's name there, and its source."""
    return {"name": LAUNCHER, "source": _source("launcher")}


def packed(sources: Mapping[str, str]) -> bytes:
    """The loader's form of modules, by their name below this package, in the order in which they are executed."""
    named = {f"{__package__}.{name}": source for name, source in sources.items()}
    return zlib.compress(json.dumps(named).encode(), 9)


def _source(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text()
