"""Load on an HTTP server, by the generator that this machine has: wrk, else ab."""

from __future__ import annotations

import re
import shutil
import subprocess

from ci.bench.children import BenchFailed

CONNECTIONS = 16
REMEDY = "install wrk (or apache2-utils, for ab)"


def generator() -> str:
    """The name of the load generator; empty when there is none."""
    return next((name for name in ("wrk", "ab") if shutil.which(name)), "")


def requests_per_second(url: str, seconds: int) -> float:
    """What the server at `url` answers with keep-alive on `CONNECTIONS` connections. Raises on any failed request."""
    if generator() == "wrk":
        said = _run("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", url)
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", said)
        if failed and _serious(failed):
            raise BenchFailed(f"{url} answered badly under load: {failed[0]}")
        return float(_found(r"Requests/sec:\s+([\d.]+)", said))
    said = _run("ab", "-q", "-k", "-c", str(CONNECTIONS), "-t", str(seconds), "-n", "100000000", "-s", "30", url)
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
