"""The configuration examples beside the code: they must fit the commands that exist."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pinwheel.index.commands.serving import serve

INDEX = Path(__file__).resolve().parents[2] / "index"


def test_the_supervisor_example_starts_what_there_is() -> None:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    parser.read(INDEX / "supervisor.conf")
    program = parser["program:pinwheel-index"]
    _, task, *flags = shlex.split(program["command"])
    assert task == "index.serve"
    known = {f"--{argument.name.replace('_', '-')}" for argument in serve.get_arguments()}
    assert {flag for flag in flags if flag.startswith("--")} <= known
    assert program["stopsignal"] == "TERM"


@pytest.mark.slow
def test_nginx_takes_the_example(tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or pytest.skip("nginx is not installed")
    text = (INDEX / "nginx.conf").read_text()
    plain = "\n".join(line for line in text.splitlines() if "ssl_certificate" not in line).replace("443 ssl", "8443")
    main = tmp_path / "nginx.conf"
    main.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{plain}\n}}\n")
    done = subprocess.run([nginx, "-t", "-c", str(main)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
