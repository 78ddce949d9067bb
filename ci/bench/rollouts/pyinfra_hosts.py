"""The inventory of the peer pyinfra: the hosts of the `work.document` that BENCH_WISH names."""

import json
import os
from pathlib import Path

wish = json.loads(Path(os.environ["BENCH_WISH"]).read_text())
hosts = [
    (
        name,
        {
            "ssh_hostname": host["address"],
            "ssh_port": host["port"],
            "ssh_user": wish["user"],
            "ssh_key": wish["identity_file"],
            "ssh_known_hosts_file": wish["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
            "ssh_allow_agent": False,
            "ssh_look_for_keys": False,
            "wish": wish,
            "here": host,
        },
    )
    for name, host in wish["hosts"].items()
]
