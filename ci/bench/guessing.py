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
TIMED = 200
BESIDE = f"99th percentile of a page, beside {GUESSES:,} guesses"
UNKNOWN = f"median of {TIMED} refusals: unknown user"

GUESSER = """
import base64, http.client, sys
host, port = sys.argv[1].split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=60)
for number in range(int(sys.argv[3])):
    guess = base64.b64encode(f"{sys.argv[2]}:guess-{number}".encode()).decode()
    connection.request("GET", "/simple/guessed/", headers={"Authorization": f"Basic {guess}"})
    answer = connection.getresponse()
    answer.read()
    if answer.status not in (401, 429):
        sys.exit(f"a guess was answered with {answer.status}")
"""


def measure(bench: Bench) -> None:
    """A user's requests with and without a guesser beside them; then refusals of a known and an unknown user."""
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
            bench.note(BESIDE, PINWHEEL, MILLISECONDS, functools.partial(_beside_guesses, at))
        refused = _refusals_ms(htpasswd)
        bench.note(UNKNOWN, PINWHEEL, MILLISECONDS, functools.partial(refused.__getitem__, "nobody"))
        bench.note(UNKNOWN, f"{PINWHEEL}: wrong password", MILLISECONDS, functools.partial(refused.__getitem__, USER))


def _beside_guesses(at: str) -> float:
    guesser = subprocess.Popen([sys.executable, "-c", GUESSER, at, USER, str(GUESSES)])
    try:
        found = _p99_ms(at)
        if guesser.wait(children.COMMAND_TIMEOUT_S):
            raise BenchFailed("the guesses were not refused")
    finally:
        guesser.kill()
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


def _refusals_ms(htpasswd: Path) -> dict[str, float]:
    """The median refusal of each user, taken in turns, each guess from an address of its own."""
    cheap = htpasswd.with_name("htpasswd-cheap")
    cheap.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(8)).decode()}\n")
    people = Passwords(cheap)
    took: dict[str, list[float]] = {USER: [], "nobody": []}
    for number in range(TIMED):
        for user, times in took.items():
            begun = time.perf_counter()
            if people.recognises(user, f"wrong{number}", f"address {number}", 0.0):
                raise BenchFailed("a wrong password was right")
            times.append(time.perf_counter() - begun)
    return {user: statistics.median(times) * 1000 for user, times in took.items()}
