"""Secrets on the operator's side: where their values come from, what their set is called, and who hears of them."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pinwheel.config import Application, Config, Loaded, Program, Secret
from pinwheel.deploy.host.wire import Wire
from pinwheel.deploy.planning import secret_set as sets
from pinwheel.deploy.planning.secret_set import SecretSet
from pinwheel.deploy.rolling import secret_sources
from pinwheel.errors import UsageError, describe

VALUE = "correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes guessing slow would make these tests slow."""
    monkeypatch.setattr(sets, "COST", 2)


def application(secret: Secret) -> Application:
    return Application(secrets={"A": secret}, programs={"web": Program(command=("x",), secrets=("A",))})


def read(folder: Path, secret: Secret, environ: Mapping[str, str] | None = None) -> SecretSet:
    loaded = Loaded(Config(), folder / "pinwheel.toml")
    found = secret_sources.secret_set(loaded, "live", "shop", application(secret), environ or {})
    assert found is not None
    return found


def value(found: SecretSet) -> str:
    return base64.b64decode(found.programs["shop-web"]["values"]["A"]["value"]).decode()


def private(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


def test_a_value_comes_from_a_file_a_variable_or_a_command(tmp_path: Path) -> None:
    private(tmp_path / "password", f"{VALUE}\n")
    command = (sys.executable, "-c", "print(open('password').read(), end='')")
    for secret in (Secret(file="password"), Secret(variable="PASSWORD"), Secret(command=command)):
        assert value(read(tmp_path, secret, {"PASSWORD": VALUE})) == VALUE


def test_only_what_a_program_gets_is_read(tmp_path: Path) -> None:
    about = Application(secrets={"A": Secret(file="nowhere")}, programs={"web": Program(command=("x",), secrets=())})
    loaded = Loaded(Config(), tmp_path / "pinwheel.toml")
    assert secret_sources.secret_set(loaded, "live", "shop", about, {}) is None


def test_a_file_reaches_the_host_as_it_is(tmp_path: Path) -> None:
    private(tmp_path / "key", f"{VALUE}\n")
    assert value(read(tmp_path, Secret(file="key", as_file=True))) == f"{VALUE}\n"


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (Secret(file="absent"), "No such file"),
        (Secret(file="open"), "others may read"),
        (Secret(file="empty"), "gives an empty one"),
        (Secret(file="binary"), "no variable can hold"),
        (Secret(variable="UNSET"), "the variable UNSET is not set"),
        (Secret(command=("no-such-password-manager",)), "cannot be run"),
        (Secret(command=(sys.executable, "-c", f"print('{VALUE}'); raise SystemExit(3)")), "exit code 3"),
        (Secret(command=("sh", "-c", "kill -KILL $$")), "sh was ended by SIGKILL"),
    ],
)
def test_what_is_not_known_is_told_without_a_value(tmp_path: Path, secret: Secret, problem: str) -> None:
    (tmp_path / "open").write_text(VALUE)
    (tmp_path / "open").chmod(0o644)
    private(tmp_path / "empty", "\n")
    private(tmp_path / "binary", f"{VALUE}\0")
    with pytest.raises(UsageError, match=problem) as caught:
        read(tmp_path, secret)
    assert caught.value.where == "applications.shop.secrets.A"
    assert caught.value.remedy
    assert VALUE not in describe(caught.value)


def test_equal_sets_have_one_name_and_others_another() -> None:
    def name(environment: str = "live", user: str = "", secret: bytes = b"secret", *, as_file: bool = False) -> str:
        about = application(Secret(variable="X", as_file=as_file))
        web = Program(command=("x",), secrets=("A",), user=user)
        made = sets.sealed(
            environment, "shop", Application(secrets=about.secrets, programs={"web": web}), {"A": secret}
        )
        assert made is not None
        return made.id

    assert name() == name()
    others = [name("test"), name(user="www-data"), name(secret=b"Secret"), name(as_file=True)]
    assert len({name(), *others}) == 5


def test_a_set_does_not_tell_its_values(tmp_path: Path) -> None:
    found = read(tmp_path, Secret(variable="A"), {"A": VALUE})
    encoded = base64.b64encode(VALUE.encode()).decode()
    assert not [text for text in (VALUE, encoded) if text in repr(found) + found.id]
    assert encoded in json.dumps(found.document())


# --- what leaves a host


def told(text: str, *secrets: str) -> str:
    reading, writing = os.pipe()
    wire = Wire(writing)
    wire.hide(*secrets)
    wire.send("progress", text=text, more=[{"text": text}])
    os.close(writing)
    with os.fdopen(reading) as answers:
        document = json.loads(answers.read())
    assert document["more"] == [{"text": document["text"]}]
    return str(document["text"])


def test_what_is_hidden_leaves_in_no_form() -> None:
    key = "-----BEGIN-----\nbGluZSBvbmU=\n  bGluZSB0d28=\n"
    assert told("it is pässword!", "pässword!") == "it is ***"
    assert told("at postgres://u:p%40ss%20word@h", "p@ss word") == "at postgres://u:***@h"
    assert told(f"the key: {key}", key) == "the key: ***\n"
    assert told("log: bGluZSBvbmU=", key) == "log: ***"
    assert told("longer than the other: abcdefgh", "abcdef", "abcdefgh") == "longer than the other: ***"


def test_what_was_cut_off_does_not_show_half_a_secret() -> None:
    secret = "0123456789abcdef"
    assert told(f"…{secret[5:]}{'x' * 600}", secret) == f"***{'x' * 600}"
    assert told(f"{'x' * 600}{secret[:9]}", secret) == f"{'x' * 600}***"
    assert told("short text, not cut: 012345", secret) == "short text, not cut: 012345"
