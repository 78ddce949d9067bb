"""Guessing passwords against a real server: slow for who guesses, unnoticed by everybody else (promise I14)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import bcrypt
import pytest
from tests.index.making import wheel
from tests.index.running import Server, authorization, environment, running

GUESSER = """
import base64, collections, http.client, json, sys
host, port = sys.argv[1].split(":")
heard = collections.Counter()
connection = http.client.HTTPConnection(host, int(port), timeout=60)
for number in range(int(sys.argv[2])):
    guess = base64.b64encode(f"ann:guess-{sys.argv[3]}-{number}".encode()).decode()
    headers = {"Authorization": f"Basic {guess}", "X-Forwarded-For": sys.argv[3]}
    connection.request("GET", "/simple/guessed/", headers=headers)
    answer = connection.getresponse()
    answer.read()
    heard[answer.status] += 1
print(json.dumps(heard))
"""
GUESSES = 1000


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the users ann and ben, whose passwords are `secret`, that trusts a web server on loopback."""
    folder = tmp_path_factory.mktemp("guarded")
    # as cheap as can be for tests of what is answered, as dear as it is in use for those of what it costs
    stored = {user: bcrypt.hashpw(b"secret", bcrypt.gensalt(cost)).decode() for user, cost in (("ann", 11), ("ben", 4))}
    (folder / "htpasswd").write_text("".join(f"{user}:{text}\n" for user, text in stored.items()))
    (folder / "pinwheel.toml").write_text('[index]\ntrusted_proxies = ["127.0.0.1"]\n')
    with running(folder / "data", "--htpasswd", str(folder / "htpasswd"), "--workers", "1", cwd=folder) as found:
        assert found.upload(wheel("guessed"), found.token("up", "upload")).status == 200
        yield found


def test_addresses_are_told_apart_behind_a_trusted_web_server(guarded: Server) -> None:
    def ask(password: str, address: str) -> int:
        headers = authorization(password, "ben") | {"X-Forwarded-For": address}
        return guarded.ask("GET", "/simple/guessed/", headers=headers).status

    heard = [ask(f"guess{number}", "203.0.113.9") for number in range(20)]
    assert (heard[0], heard[-1]) == (401, 429)
    assert ask("secret", "198.51.100.1") == 200
    assert ask("secret", "203.0.113.9") == 200, "known by now, from anywhere"


def test_links_and_redirects_name_what_a_trusted_web_server_says(guarded: Server) -> None:
    token = guarded.token("linked", "read")
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "index.example"}
    moved = guarded.ask("GET", "/packages", token, headers=said)
    assert moved.headers["location"].startswith("https://index.example/")


def test_a_stranger_can_claim_no_address_and_no_name(server: Server, token: str) -> None:
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "203.0.113.1"}
    moved = server.ask("GET", "/packages", token, headers=said)
    assert moved.headers["location"].startswith(server.url)


@pytest.mark.slow
def test_normal_traffic_is_answered_beside_a_thousand_guesses(guarded: Server) -> None:
    """What the guesses cost it is measured by `inv bench`."""
    token = guarded.token("reader", "read")
    page = "/simple/guessed/"
    known = (authorization("secret", "ann"), authorization(token))
    assert guarded.ask("GET", page, headers=known[0]).status == 200
    argv = [sys.executable, "-c", GUESSER, urlsplit(guarded.url).netloc, str(GUESSES), "203.0.113.1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment()) as guesser:
        asked = 0
        while guesser.poll() is None:
            assert guarded.ask("GET", page, headers=known[asked % 2]).status == 200
            asked += 1
        assert guesser.stdout is not None
        heard = json.loads(guesser.stdout.read())
    assert asked > 1
    assert heard["401"] + heard["429"] == GUESSES
    assert heard["401"] <= GUESSES // 10, "each costs a whole check"
