"""The limit: one script for each host over one `ssh`, and nothing else. Standard library only.

Its arguments are a `work.document` and how the virtualenv is made: `uv` (anew) or `clone` (of the running release).
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(wish: dict[str, Any], host: dict[str, Any]) -> list[str]:
    """`ssh` with a shell that reads the script."""
    options = {"UserKnownHostsFile": wish["known_hosts"], "BatchMode": "yes", "IdentitiesOnly": "yes"}
    # as paramiko has it; OpenSSH's own choice (sntrup761) takes 90 ms of CPU more on each side
    options["KexAlgorithms"] = "curve25519-sha256"
    return [
        *("ssh", "-F", "none", "-i", wish["identity_file"], "-p", str(host["port"])),
        *(f"-o{key}={value}" for key, value in options.items()),
        f"{wish['user']}@{host['address']}",
        shlex.join((*wish["become"], "sh", "-s")),
    ]


def script(wish: dict[str, Any], host: dict[str, Any], how: str) -> bytes:
    """The script after the values that it reads."""
    given = {key: host[key] for key in ("root", "release", "python", "uv", "conf", "conf_file")}
    given |= {"how": how, "index_url": wish["index_url"], "requirements": wish["requirements"]}
    given |= {"module": wish["module"], "program": wish["subject"]}
    values = "".join(f"{key}={shlex.quote(value)}\n" for key, value in given.items())
    functions = f'gate() {{ {shlex.join(host["gate"])}; }}\ncontrol() {{ {shlex.join(host["supervisorctl"])} "$@"; }}\n'
    return (values + functions + Path(__file__).with_name("script.sh").read_text()).encode()


def main(wish: dict[str, Any], how: str) -> None:
    """One batch after the other; a host that fails ends it."""
    for names in wish["batches"]:
        running = []
        for name in names:
            host = wish["hosts"][name]
            child = subprocess.Popen(command(wish, host), stdin=subprocess.PIPE)
            assert child.stdin is not None  # it is a pipe
            child.stdin.write(script(wish, host, how))
            child.stdin.close()
            running.append(child)
        codes = [child.wait() for child in running]
        if any(codes):
            sys.exit(1)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
