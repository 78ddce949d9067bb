"""The deploy bench's peer: Fabric with one command for each step, and uv. Reads its wishes from a JSON file.

{"hosts": [{"name", "port", "root", "socket", "app_port"}], "user", "identity_file", "index_url", "python",
"requirements", "version"}
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from fabric.connection import Connection

POLL = (
    "import sys,time,urllib.request as u\n"
    "end=time.monotonic()+30; good=0\n"
    "while good<2 and time.monotonic()<end:\n"
    "    try: good=good+1 if u.urlopen(sys.argv[1],timeout=2).read().decode()==sys.argv[2] else 0\n"
    "    except OSError: good=0\n"
    "    time.sleep(0.1)\n"
    "sys.exit(good<2)"
)
"""Two good answers of the right version, one after the other, as the gate of the bench's pinwheel.toml has it."""


def deploy(wish: dict[str, Any], host: dict[str, Any]) -> None:
    """Install and start one version on one host, step by step."""
    root = f"{host['root']}/peer"
    release = f"{root}/releases/{wish['version']}"
    uv = (
        f"UV_CACHE_DIR={shlex.quote(host['pinwheel_root'] + '/cache')} UV_NO_CONFIG=1 "
        f"UV_DEFAULT_INDEX={shlex.quote(wish['index_url'])} {shlex.quote(host['pinwheel_root'] + '/bin/uv')}"
    )
    control = shlex.join((f"{host['pinwheel_root']}/supervisor/bin/supervisorctl", "-s", f"unix://{host['socket']}"))
    conf = (
        f"[program:peer]\ncommand={release}/bin/bench-app --port {host['app_port']}\n"
        f"stdout_logfile={root}/log\nredirect_stderr=true\n"
    )
    with Connection(  # type: ignore[no-untyped-call]
        "127.0.0.1",
        user=wish["user"],
        port=host["port"],
        connect_kwargs={"key_filename": wish["identity_file"], "allow_agent": False, "look_for_keys": False},
    ) as connection:

        def run(command: str) -> None:
            connection.run(command, hide=True, in_stream=False)

        run(f"mkdir -p {shlex.quote(root + '/releases')}")
        run(f"test -e {shlex.quote(release)} || {uv} venv --quiet --python {wish['python']} {shlex.quote(release)}")
        run(f"printf %s {shlex.quote(wish['requirements'])} > {shlex.quote(root + '/requirements.txt')}")
        run(
            f"{uv} pip install --quiet --require-hashes --only-binary :all: --python {shlex.quote(release)} "
            f"-r {shlex.quote(root + '/requirements.txt')}"
        )
        run(f"{shlex.quote(release + '/bin/python')} -c 'import bench_app'")
        run(f"printf %s {shlex.quote(conf)} > {shlex.quote(host['conf_dir'] + '/peer.conf')}")
        run(f"{control} reread")
        run(f"{control} update")
        run(f"{control} status peer || true")
        url = f"http://127.0.0.1:{host['app_port']}/"
        run(f"{wish['python']} -c {shlex.quote(POLL)} {url} {wish['version']}")
        run(f"ln -sfn {shlex.quote(release)} {shlex.quote(root + '/current')}")


if __name__ == "__main__":
    wanted = json.loads(Path(sys.argv[1]).read_text())
    for one in wanted["hosts"]:
        deploy(wanted, one)
