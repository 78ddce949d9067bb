"""I12: the name of a private project leaves neither the index nor its clients."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.index import secluded

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SECLUDED = ("unshare", "--user", "--map-root-user", "--net", "--mount")


@pytest.mark.slow
def test_no_private_name_reaches_a_resolver_or_an_upstream(tmp_path: Path) -> None:
    """Reserved, or published and emptied; by every address, with a wrong credential, and with the index down."""
    if subprocess.run([*SECLUDED, "ip", "link"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine gives us no network namespace, or has no `ip`")
    argv = [*SECLUDED, sys.executable, "-P", str(Path(secluded.__file__)), str(tmp_path)]
    env = {"PYTHONPATH": str(CHECKOUT), "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    our_own_server = "1.0.0.127.in-addr.arpa"  # Python's looks for its name when it starts
    assert set(found["resolver"]) - {our_own_server} == {"index.test", "upstream.test"}
    assert found["upstream"] == ["/files/open-1.0-py3-none-any.whl", "/simple/open/"]
    both, neither = [True, True], [False, False]
    assert found["installed"].pop("public") == both
    assert found["installed"].pop("held") == both
    extra = found["installed"].pop("index down, and an extra index")
    assert set(map(tuple, found["installed"].values())) == {tuple(neither)}, found["installed"]
    # the other way round: who adds an index asks it for everything, and pip takes what is there
    assert any(extra)
    assert "/simple/acme-reserved/" in found["with an extra index"]
