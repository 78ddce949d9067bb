"""`pinwheel.toml`: the example is the schema, and every fault names its key, its line and the nearest name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from pinwheel import config
from pinwheel.errors import UsageError
from pinwheel.scaffold import commented, example, write


def faults(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        config.parse(text, "pinwheel.toml")
    return caught.value.where.splitlines()


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, config.Section)


def schema(cls: Any, path: str = "") -> set[str]:
    """Every key of a section and of those below it; `*` stands for a name that the user chooses."""
    keys = set()
    for name, kind in get_type_hints(cls).items():
        here = f"{path}{name}"
        if _is_section(kind):
            keys |= schema(kind, f"{here}.")
        elif _is_mapping(kind):
            below = get_args(kind)[1]
            keys |= schema(below, f"{here}.*.") if _is_section(below) else {here}
        elif get_origin(kind) is tuple and _is_section(get_args(kind)[0]):
            keys |= schema(get_args(kind)[0], f"{here}.*.")
        else:
            keys.add(here)
    return keys


def used(table: Mapping[str, Any], cls: Any, path: str = "") -> set[str]:
    """Every key that a document sets, named as `schema` names it."""
    keys = set()
    hints = get_type_hints(cls)
    for name, value in table.items():
        kind, here = hints[name], f"{path}{name}"
        if _is_section(kind):
            keys |= used(value, kind, f"{here}.")
        elif _is_mapping(kind):
            below = get_args(kind)[1]
            if _is_section(below):
                for inner in value.values():
                    keys |= used(inner, below, f"{here}.*.")
            else:
                keys.add(here)
        elif get_origin(kind) is tuple and _is_section(get_args(kind)[0]):
            for inner in value:
                keys |= used(inner, get_args(kind)[0], f"{here}.*.")
        else:
            keys.add(here)
    return keys


def test_the_example_documents_every_key_and_no_other() -> None:
    assert used(tomllib.loads(example()), config.Config) == schema(config.Config)


def test_the_example_is_valid() -> None:
    loaded = config.parse(example(), "example.toml")
    assert loaded.environments["prod"].hosts["web1"].variables == {"port": "8001"}


def test_every_key_of_the_example_has_a_comment_above_it() -> None:
    lines = example().splitlines()
    seen: set[str] = set()
    for number, line in enumerate(lines):
        key = line.partition(" = ")[0]
        if line.startswith(("#", "[")) or " = " not in line or key in seen:
            continue
        seen.add(key)
        block = number
        while lines[block - 1] and not lines[block - 1].startswith(("#", "[")):
            block -= 1  # keys that share one comment
        assert lines[block - 1].startswith("#"), f"line {number + 1}: {key} has no comment"


def test_the_example_in_examples_is_the_one_that_is_shipped() -> None:
    assert (Path(__file__).parent.parent / "examples" / "pinwheel.toml").read_text() == example()


def test_the_defaults_that_the_comments_name_are_those_of_the_schema() -> None:
    text = example()
    rollout, health, layout = config.Rollout(), config.Health(), config.Layout()
    assert f"Default: {rollout.batch}." in text
    assert f"Defaults: {health.interval_s:g} and {health.timeout_s:g}." in text
    assert f"Default: {layout.root}." in text


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() -> None:
    text = '[index]\nurl = "http://index.test/"\nprivat = ["a",\n  "b"]\n'
    assert faults(text) == ["pinwheel.toml:3: index.privat: unknown key; did you mean index.private?"]


def test_an_unknown_key_in_a_table_of_many_is_found() -> None:
    text = '[[index.exceptions]]\nrelease = "a==1"\nreason = "why"\nuntill = 2026-12-01\n'
    assert faults(text) == [
        "pinwheel.toml:1: index.exceptions.0.until: is missing",
        "pinwheel.toml:4: index.exceptions.0.untill: unknown key; did you mean index.exceptions.0.until?",
    ]


def test_an_unknown_table_deep_below_is_found() -> None:
    text = '[environments.prod.hosts]\nweb1 = { adress = "web1" }\n'
    assert faults(text) == [
        "pinwheel.toml:2: environments.prod.hosts.web1.adress: unknown key; "
        "did you mean environments.prod.hosts.web1.address?"
    ]


def test_a_wrong_type_and_a_missing_value_are_named_together() -> None:
    text = '[environments.prod]\nport = "22"\n\n[applications.shop.programs.web]\nprocesses = 2\n'
    assert faults(text) == [
        "pinwheel.toml:2: environments.prod.port: expected `int`, got `str`",
        "pinwheel.toml:4: applications.shop.programs.web.command: is missing",
    ]


def test_what_is_not_toml_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="this is not TOML"):
        config.parse("[index\n", "pinwheel.toml")


def test_the_file_is_found_from_the_working_directory_upwards(tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text('[index]\nurl = "http://a.test/"\ntoken_file = "token"\n')
    (tmp_path / "token").write_text("secret\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    loaded = config.load(below, {})
    assert loaded.file == tmp_path / "pinwheel.toml"
    assert config.token(loaded, {}) == "secret"


def test_the_environment_overrides_address_and_token(tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text('[index]\nurl = "http://a.test/"\ntoken_file = "absent"\n')
    environ = {"PINWHEEL_INDEX_URL": "http://b.test/", "PINWHEEL_TOKEN": "other"}
    loaded = config.load(tmp_path, environ)
    assert loaded.config.index.url == "http://b.test/"
    assert config.token(loaded, environ) == "other"
    with pytest.raises(UsageError, match="token file cannot be read"):
        config.token(loaded, {})


def test_a_named_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        config.load(tmp_path, {"PINWHEEL_CONFIG": str(tmp_path / "absent.toml")})


def test_init_writes_a_file_in_which_nothing_is_active_yet(tmp_path: Path) -> None:
    file = write(str(tmp_path / "new"))
    assert tomllib.loads(file.read_text()) == {}
    assert config.parse(file.read_text(), "x") == config.Config()
    with pytest.raises(UsageError, match="already"):
        write(str(tmp_path / "new"))
    assert file.read_text() == commented(example())


def test_uncommenting_the_file_gives_the_example_back() -> None:
    active = "".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") and line.strip() != "#" else line
        for line in commented(example()).splitlines(keepends=True)
    )
    assert config.parse(active, "x") == config.parse(example(), "y")


def test_a_file_that_is_not_utf_8_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(UsageError, match="is not UTF-8") as caught:
        config.load(tmp_path, {})
    assert caught.value.where == f"{tmp_path / 'pinwheel.toml'}: byte 5"


@pytest.mark.parametrize(
    ("table", "line", "told"),
    [
        ("applications.a.programs.web.health", "deadline_s = nan", "health.deadline_s: expected `float` > 0"),
        ("applications.a.programs.web.health", "deadline_s = inf", "health.deadline_s: expected `float` <= 86400"),
        ("applications.a.programs.web.health", "passes = 0", "health.passes: expected `int` >= 1"),
        ("applications.a.programs.web", 'stop_signal = "NOPE"', "stop_signal: must be one of 'TERM', 'HUP'"),
        ("environments.e", "connections = -5", "connections: expected `int` >= 1"),
        ("environments.e", "port = 70000", "port: expected `int` <= 65535"),
        (
            "environments.e.layout",
            'supervisor_from = "moon"',
            "supervisor_from: must be one of 'auto', 'host', 'index'",
        ),
        ("index", 'private = "acme-*"', "index.private: must be a list"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_line(table: str, line: str, told: str) -> None:
    text = '[applications.a.programs.web]\ncommand = ["x"]\n[environments.e.hosts.h]\n'
    text += f"[{table}]\n{line}\n" if f"[{table}]\n" not in text else ""
    text = text.replace(f"[{table}]\n", f"[{table}]\n{line}\n") if line not in text else text
    (fault,) = faults(text)
    assert told in fault
    assert text.splitlines()[int(fault.split(":")[1]) - 1] == line


def test_a_folder_of_the_files_name_is_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        config.load(tmp_path, {})
