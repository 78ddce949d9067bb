"""Load on an HTTP server, by the generator that this machine has: wrk, else ab."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from types import MappingProxyType

from ci.bench import children
from ci.bench.children import BenchFailed

CONNECTIONS = 16
SLOW_S = 0.15
REMEDY = "install wrk (or apache2-utils, for ab)"


def generator() -> str:
    """The name of the load generator; empty when there is none."""
    return next((name for name in ("wrk", "ab") if shutil.which(name)), "")


def requests_per_second(url: str, seconds: float, headers: Mapping[str, str] = MappingProxyType({})) -> float:
    """What the server at `url` answers with keep-alive on `CONNECTIONS` connections. Raises on any failed request.

    A server that needs longer than `SLOW_S` for one request is asked one at a time: a wave of many would not end
    within the measurement.
    """
    started = time.monotonic()
    answers = 0
    while answers < 2 or (time.monotonic() - started) / answers > SLOW_S:
        status = children.fetch(url, headers)[0]
        if status != 200:
            raise BenchFailed(f"{url} answered {status}")
        answers += 1
        if time.monotonic() - started > max(seconds, 2 * SLOW_S):
            return answers / (time.monotonic() - started)
    named = [f"{name}: {value}" for name, value in headers.items()]
    flags = [word for header in named for word in ("-H", header)]
    if generator() == "wrk":
        duration = f"{max(1, round(seconds))}s"
        said = _run("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{duration}", "--timeout", "30s", *flags, url)
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", said)
        if failed and _serious(failed):
            raise BenchFailed(f"{url} answered badly under load: {failed[0]}")
        return float(_found(r"Requests/sec:\s+([\d.]+)", said))
    limits = ("-t", str(max(1, round(seconds))), "-n", "100000000", "-s", "30")
    said = _run("ab", "-q", "-k", "-c", str(CONNECTIONS), *limits, *flags, url)
    if int(_found(r"Failed requests:\s+(\d+)", said)) or "Non-2xx" in said:
        raise BenchFailed(f"{url} answered badly under load")
    return float(_found(r"Requests per second:\s+([\d.]+)", said))


def _serious(failed: re.Match[str]) -> bool:
    # a server may close a kept-alive connection (wrk counts "read"); a refused or late answer is a failure
    return failed[2] is None or bool(re.search(r"(connect|write|timeout) [1-9]", failed[2]))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise BenchFailed(f"the load generator did not say {pattern}:\n{text}")
    return found[1]
