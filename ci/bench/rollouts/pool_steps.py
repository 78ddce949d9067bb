"""A peer for many hosts: 64 threads of plain paramiko, which send each host what pinwheel sends it.

python -P pool_steps.py HOSTS.json, which has {"addresses", "port", "user", "identity_file", "known_hosts", "command",
"sent"}, the last being a file.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko

THREADS = 64


def ask(wish: dict[str, Any], key: paramiko.PKey, known: paramiko.HostKeys, sent: bytes, address: str) -> bytes:
    """One login, one exec, its answer."""
    name = f"[{address}]:{wish['port']}"
    with paramiko.SSHClient() as client:
        for kind, host_key in known[name].items():
            client.get_host_keys().add(name, kind, host_key)
        client.connect(address, wish["port"], wish["user"], pkey=key, allow_agent=False, look_for_keys=False)
        stdin, stdout, _ = client.exec_command(wish["command"])
        stdin.channel.sendall(sent)
        answer: bytes = stdout.read()
        return answer


def main(wish: dict[str, Any]) -> None:
    key = paramiko.PKey.from_path(wish["identity_file"])
    known = paramiko.HostKeys(wish["known_hosts"])
    sent = Path(wish["sent"]).read_bytes()
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda address: ask(wish, key, known, sent, address), wish["addresses"]))
    print(sum(1 for answer in answers if answer))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
