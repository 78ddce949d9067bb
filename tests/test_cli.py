"""The command line: help anywhere, exit codes, errors with a remedy and without a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from invoke import Context, Exit
from tests import forked

from pinwheel import cli
from pinwheel.errors import PinwheelError, Refused, describe

ROOT = Path(__file__).resolve().parent.parent
TREE = cli.collection()
NAMES = sorted(TREE.task_names)
# taken while the tests are collected: Invoke takes a flag's help out of the task when it is first asked for
FLAGS = {name: TREE[name].get_arguments() for name in NAMES}

PROMISED = {
    *("demo", "demo-stop", "doctor", "init"),
    *("index.serve", "index.token-create", "index.token-list", "index.token-revoke", "index.list"),
    "index.token-rotate",
    *("packaging.plan", "packaging.build", "packaging.check", "packaging.publish", "packaging.release"),
    *("packaging.lock", "packaging.explain"),
    *("deploy.bootstrap", "deploy.plan", "deploy.rollout", "deploy.rollback", "deploy.status", "deploy.history"),
    *("deploy.logs", "deploy.restart", "deploy.prune", "deploy.unlock"),
}
"""What scripts rely on today, of the names in the design."""


def pinwheel(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PINWHEEL_")}
    return forked.command(*words, env=inherited | environ, cwd=cwd)


def test_the_promised_tasks_are_there() -> None:
    assert set(NAMES) >= PROMISED


@pytest.mark.parametrize("name", NAMES)
def test_every_task_explains_itself_with_an_example(name: str) -> None:
    text = TREE[name].__doc__ or ""
    assert text.splitlines()[0].endswith("."), "the first line is a sentence"
    assert re.search(rf"Example:\n\s+(\w+=\S+ )*pinwheel {re.escape(name)}\b", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_explained(name: str) -> None:
    undocumented = [argument.name for argument in FLAGS[name] if not argument.help]
    assert not undocumented


@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_in_the_docs(name: str) -> None:
    docs = "".join(file.read_text() for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert f"pinwheel {name}" in docs


def test_list_names_every_task(tmp_path: Path) -> None:
    said = pinwheel("--list", cwd=tmp_path)
    assert said.returncode == 0
    assert set(NAMES) <= set(said.stdout.split())


@pytest.mark.parametrize("words", [("index.list", "--help"), ("--help", "index.list"), ("index.list", "-h")])
def test_help_is_understood_anywhere_and_runs_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = pinwheel(*words, cwd=tmp_path)
    assert said.returncode == 0
    assert said.stdout.startswith("Usage: pinwheel index.list")
    assert "Example:" in said.stdout


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("packaging.release", ["--all", "--json", "--name=STRING", "--ref=STRING", "--repo=STRING"]),
        ("index.serve", ["--anonymous-read", "--private=STRING", "--workers=INT"]),
        ("deploy.rollout", ["--env=STRING", "--json"]),
    ],
)
def test_help_says_which_flags_take_a_value(tmp_path: Path, task: str, flags: list[str]) -> None:
    said = pinwheel(task, "--help", cwd=tmp_path).stdout
    assert [flag for flag in flags if not re.search(rf"^ +{flag}(  |$)", said, re.MULTILINE)] == []


@pytest.mark.parametrize("words", [("index.lst",), ("index.list", "--nmae", "x"), ("init", "--directory")])
def test_wrong_usage_exits_2_with_a_remedy(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = pinwheel(*words, cwd=tmp_path)
    assert said.returncode == 2
    assert said.stderr.startswith("error: ")
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


def test_a_broken_configuration_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text("[indx]\n")
    said = pinwheel("index.list", cwd=tmp_path)
    assert said.returncode == 2
    assert f"{tmp_path}/pinwheel.toml:1: indx: unknown key; did you mean index?" in said.stderr
    assert "remedy: " in said.stderr


def test_an_index_that_is_away_is_one_error(tmp_path: Path) -> None:
    said = pinwheel("index.list", cwd=tmp_path, PINWHEEL_INDEX_URL="http://127.0.0.1:9/", PINWHEEL_TOKEN="s3cret")
    assert said.returncode == 1
    assert "127.0.0.1:9" in said.stderr
    assert "s3cret" not in said.stderr + said.stdout
    assert "Traceback" not in said.stderr


def test_init_writes_here_and_refuses_a_second_time(tmp_path: Path) -> None:
    assert pinwheel("init", cwd=tmp_path).returncode == 0
    assert (tmp_path / "pinwheel.toml").is_file()
    assert pinwheel("init", cwd=tmp_path).returncode == 2


def test_an_init_for_which_there_is_no_room_leaves_no_half_file(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "pinwheel"
    said = subprocess.run(
        ["sh", "-c", "ulimit -f 1; exec $0 init", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr.startswith("error: File too large\n")
    assert not list(tmp_path.iterdir())


def test_doctor_speaks_json(tmp_path: Path) -> None:
    said = pinwheel("doctor", "--json", cwd=tmp_path)
    findings = json.loads(said.stdout)["findings"]
    assert said.returncode == 0
    assert {"configuration", "index", "git"} <= {one["subject"] for one in findings}


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    said = subprocess.run(
        ["bash", "-c", f"(sleep 0.2; {sys.executable} -P -m pinwheel --list) | true"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stderr == ""


def test_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"pinwheel \d+\.\d+\.\d+\n", pinwheel("--version", cwd=tmp_path).stdout)


def test_an_error_says_problem_where_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_context: Context) -> None:
        raise Refused("the lease is held", where="by anna since 12:00\nfor rollout 7", remedy="wait, or deploy.unlock")

    with pytest.raises(Exit) as caught:
        cli._edge(refuse)(Context())
    assert caught.value.code == 3
    assert capsys.readouterr().err == (
        "error: the lease is held\n"
        "  where: by anna since 12:00\n"
        "         for rollout 7\n"
        "  remedy: wait, or deploy.unlock\n"
    )


def test_an_error_with_nothing_to_add_is_one_line() -> None:
    assert describe(PinwheelError("no")) == "error: no"


def test_a_fault_of_ours_is_not_hidden() -> None:
    def wrong(_context: Context) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        cli._edge(wrong)(Context())


def test_the_heavy_libraries_stay_out_of_the_task_list(tmp_path: Path) -> None:
    heavy = ("sqlalchemy", "pypiserver", "granian", "fabric", "paramiko", "twine", "urllib3", "rich")
    script = (
        "import sys; from pinwheel.cli import collection; collection(); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "stations"),
    [
        ("deploy.status --env web1.example.com", {"deploy"}),
        ("deploy.status --help", {"deploy"}),
        ("index.list packaging.plan", {"index", "packaging"}),
        ("--help", cli.STATIONS),
        ("doctor", cli.STATIONS),
        ("depoy.status", cli.STATIONS),
    ],
)
def test_a_command_line_loads_the_stations_that_it_names(words: str, stations: set[str]) -> None:
    assert cli.stations_of(words.split()) == stations


def test_sigterm_ends_a_task_as_ctrl_c_does(tmp_path: Path) -> None:
    script = (
        "import os, signal, time\n"
        "from invoke import Collection, task\n"
        "from pinwheel import cli\n"
        "@task\n"
        "def wait(context):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "cli.collection = lambda: Collection(wait)\n"
        "tree = cli.collection(); cli.guard(tree); cli.collection = lambda **_: tree\n"
        "import sys; sys.argv = ['pinwheel', 'wait']; cli.main()\n"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert said.returncode == 143
    assert said.stdout == "cleaned up\n"
    assert said.stderr == "interrupted\n"


def test_an_error_is_a_document_for_those_who_asked_for_json(tmp_path: Path) -> None:
    said = pinwheel("index.list", "--json", cwd=tmp_path, PINWHEEL_INDEX_URL="http://127.0.0.1:9/")
    assert said.returncode == 1
    assert set(json.loads(said.stdout)["error"]) == {"problem", "where", "remedy"}
    assert said.stderr.startswith("error: ")


def test_what_the_system_refuses_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = pinwheel("init", "--directory", "file/below", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith("error: Not a directory\n  where: file/below")
    assert pinwheel("init", "--directory", "file", cwd=tmp_path).stderr.startswith("error: File exists\n  where: file")

    def write(_context: Context) -> None:
        (tmp_path / "file" / "below").mkdir()

    with pytest.raises(Exit) as caught:
        cli._edge(write)(Context())
    assert caught.value.code == 1


def test_a_flag_that_takes_a_number_says_so(tmp_path: Path) -> None:
    said = pinwheel("demo", "--hosts", "many", cwd=tmp_path)
    assert said.returncode == 2
    assert said.stderr.startswith("error: --hosts takes a number, and not 'many'\n")
    assert "Traceback" not in said.stderr


def test_a_flag_without_its_value_is_named(tmp_path: Path) -> None:
    said = pinwheel("demo", "--hosts", cwd=tmp_path)
    assert (said.returncode, said.stderr.splitlines()[0]) == (
        2,
        "error: Flag --hosts needed value and was not given one!",
    )


def test_a_misspelt_task_gets_the_nearest_name(tmp_path: Path) -> None:
    assert "did you mean deploy.rollout?" in pinwheel("deploy.rollot", cwd=tmp_path).stderr


def test_messages_that_nobody_reads_stop_no_work(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pinwheel import console\n"
        "with console.progress('work') as progress:\n"
        "    for number in range(50):\n"
        "        progress.update(str(number)); console.say('x' * 9000)\n"
        "open(sys.argv[1], 'w').write('done')\n"
    )
    ended = subprocess.run(
        ["bash", "-c", f'{sys.executable} -P -c "$0" {tmp_path}/note 2>&1 | head -1; exit ${{PIPESTATUS[0]}}', script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert (tmp_path / "note").read_text() == "done"


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_data_that_cannot_be_written_is_no_traceback(tmp_path: Path, redirection: str) -> None:
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -P -m pinwheel --list {redirection}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode == (1 if "full" in redirection else 0)


@pytest.mark.parametrize(("signal_number", "code"), [((), 130), ((15,), 143)], ids=["Ctrl-C", "SIGTERM"])
def test_who_is_interrupted_before_the_task_begins_says_so_too(
    monkeypatch: pytest.MonkeyPatch, signal_number: tuple[int, ...], code: int
) -> None:
    def interrupted(_argv: list[str] | None) -> None:
        raise KeyboardInterrupt(*signal_number)

    program = cli.program(TREE)
    monkeypatch.setattr(program, "parse_core", interrupted)
    with pytest.raises(SystemExit) as ended:
        program.run(["pinwheel", "doctor"])
    assert ended.value.code == code
