"""What guessed passwords cost others, and whether an answer's time tells that a user exists (promise I14)."""

from __future__ import annotations

import functools
import http.client
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
from ci.bench import children, index_for_bench, wheels
from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL
from ci.bench.index_subjects import PASSWORD, USER, basic
from ci.bench.rounds import Bench

from pinwheel.index.credentials.passwords import Passwords

MILLISECONDS = "ms"
COST = 11  # of bcrypt: about 0.1 s a check
REQUESTS = 1500
GUESSES = 1000
BESIDE = f"99th percentile of a page, beside {GUESSES:,} guesses"
GUESSED = "guess-{}"

NEIGHBOUR = """
import base64, http.client, sys
host, port = sys.argv[1].split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=60)
for number in range(int(sys.argv[3])):
    guess = base64.b64encode(f"{sys.argv[2]}:{sys.argv[4].format(number)}".encode()).decode()
    connection.request("GET", "/simple/guessed/", headers={"Authorization": f"Basic {guess}"})
    answer = connection.getresponse()
    answer.read()
    if str(answer.status) not in sys.argv[5:]:
        sys.exit(f"the neighbour was answered with {answer.status}")
"""


def measure(bench: Bench) -> None:
    """A user's requests alone, beside an honest client and beside a guesser; then refusals of a known and an unknown
    user."""
    unknown = f"median of {bench.effort.refusals} refusals: unknown user"
    folder = bench.folder / "guessing"
    packages = folder / "packages"
    packages.mkdir(parents=True)
    wheels.write(packages, "guessed", "1.0", {"guessed.py": b""})
    htpasswd = folder / "htpasswd"
    htpasswd.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode()}\n")
    for turn in range(bench.effort.rounds):
        # a fresh server each time: one that has heard a thousand guesses refuses the next ones at once
        data, log = folder / f"data-{turn}", folder / f"serve-{turn}.log"
        with index_for_bench.started(data, log, "--packages", str(packages), "--htpasswd", str(htpasswd)) as index:
            at = urlsplit(index.url).netloc
            _p99_ms(at)  # the password is known from here on
            bench.note(BESIDE, f"{PINWHEEL}: quiet", MILLISECONDS, functools.partial(_p99_ms, at))
            honest = functools.partial(_beside, at, PASSWORD, "200")
            bench.note(BESIDE, f"{PINWHEEL}: beside as many right requests", MILLISECONDS, honest)
            bench.note(BESIDE, PINWHEEL, MILLISECONDS, functools.partial(_beside, at, GUESSED, "401", "429"))
        refused = _refusals_ms(htpasswd, bench.effort.refusals)
        bench.note(unknown, PINWHEEL, MILLISECONDS, functools.partial(refused.__getitem__, "nobody"))
        bench.note(unknown, f"{PINWHEEL}: wrong password", MILLISECONDS, functools.partial(refused.__getitem__, USER))


def _beside(at: str, password: str, *statuses: str) -> float:
    """A user's requests while a neighbour sends as many with this password, which are answered with these statuses."""
    neighbour = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, at, USER, str(GUESSES), password, *statuses])
    try:
        found = _p99_ms(at)
        if neighbour.wait(children.COMMAND_TIMEOUT_S):
            raise BenchFailed(f"the neighbour was not answered with {' or '.join(statuses)}")
    finally:
        neighbour.kill()
    return found


def _p99_ms(at: str) -> float:
    connection = http.client.HTTPConnection(at, timeout=60)
    headers = {"Authorization": basic(USER, PASSWORD)}
    took = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        connection.request("GET", "/simple/guessed/", headers=headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - begun)
        if answer.status != 200:
            raise BenchFailed(f"a page was answered with {answer.status}")
    connection.close()
    return statistics.quantiles(took, n=100)[98] * 1000


def _refusals_ms(htpasswd: Path, timed: int) -> dict[str, float]:
    """The median refusal of each user, taken in turns, each guess from an address of its own."""
    cheap = htpasswd.with_name("htpasswd-cheap")
    cheap.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(8)).decode()}\n")
    people = Passwords(cheap)
    took: dict[str, list[float]] = {USER: [], "nobody": []}
    for number in range(timed):
        for user, times in took.items():
            begun = time.perf_counter()
            if people.recognises(user, f"wrong{number}", f"address {number}", 0.0):
                raise BenchFailed("a wrong password was right")
            times.append(time.perf_counter() - begun)
    return {user: statistics.median(times) * 1000 for user, times in took.items()}
