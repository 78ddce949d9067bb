"""The runner's parts on their own: the judge, the probes, what it reads and writes; and what makes it sendable."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pinwheel import config
from pinwheel.deploy.host import bootstrap, files, gate, generation, runner, supervisord
from pinwheel.deploy.host.wire import Wire
from pinwheel.deploy.planning import supervisor_file

# --- the judge


def process(state: str = "RUNNING", pid: int = 10, age_s: int = 0, name: str = "web", why: str = "") -> dict[str, Any]:
    return {"name": name, "pid": pid, "statename": state, "start": 100, "now": 100 + age_s, "spawnerr": why}


def judge(**health: Any) -> gate.Judge:
    return gate.Judge({"name": "web", "health": {"passes": 2, "min_healthy_s": 1.0, "deadline_s": 5.0, **health}}, 0.0)


def seen(*processes: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in processes}


def test_healthy_is_enough_passes_in_a_row_by_the_same_process_that_is_old_enough() -> None:
    one = judge()
    for now, healthy in ((0.0, False), (0.5, False), (1.0, True)):
        assert one.look(now, seen(process()))
        one.take(True, "")
        assert one.healthy is healthy
    assert one.failure(1.0) == ""


@pytest.mark.parametrize(
    ("passed", "why"),
    [
        ([False], "its probe fails"),
        ([True], "1 of 2 probes passed in a row"),
        ([True, True, True], "its probe passes, and it has not been up for 60 s"),
    ],
)
def test_the_reason_is_what_was_wanting_at_the_end(passed: list[bool], why: str) -> None:
    one = judge(min_healthy_s=60.0)
    for each in passed:
        one.look(4.0, seen(process()))
        one.take(each, "500")
    assert one.failure(5.1) == f"web is not healthy after 5 s: {why}"


def test_what_a_health_check_leaves_open_is_the_same_on_both_sides() -> None:
    """A controller sends every value; the runner's own are for a process of which nobody has kept the health check."""
    assert msgspec.structs.asdict(config.Health()) == gate.HEALTH


def test_a_failed_probe_starts_the_count_again() -> None:
    one = judge(min_healthy_s=0)
    for passed, healthy in ((True, False), (False, False), (True, False), (True, True)):
        one.look(1.0, seen(process()))
        one.take(passed, "500")
        assert one.healthy is healthy


def test_another_pid_starts_count_and_age_again() -> None:
    one = judge()
    for now in (0.0, 2.0):
        one.look(now, seen(process()))
        one.take(True, "")
    assert one.healthy
    one.look(2.1, seen(process(pid=11)))
    one.take(True, "")
    one.take(True, "")
    assert not one.healthy


def test_a_process_that_is_older_than_the_gate_is_old_at_once() -> None:
    one = judge(passes=1)
    one.look(0.0, seen(process(age_s=60)))
    one.take(True, "")
    assert one.healthy


def test_one_of_several_processes_that_is_not_up_keeps_the_program_from_being_healthy() -> None:
    one = gate.Judge({"name": "web", "processes": ["web_00", "web_01"], "health": {"min_healthy_s": 0}}, 0.0)
    assert not one.look(0.0, seen(process(name="web_00")))
    assert not one.look(0.0, seen(process(name="web_00"), process("BACKOFF", name="web_01", why="Exited too quickly")))
    assert one.look(0.0, seen(process(name="web_00"), process(name="web_01")))


@pytest.mark.parametrize("state", ["STOPPED", "STARTING", "BACKOFF", "EXITED"])
def test_only_a_program_that_supervisor_gave_up_fails_before_the_deadline(state: str) -> None:
    one = judge()
    one.look(1.0, seen(process(state)))
    assert one.failure(1.0) == ""
    assert one.failure(5.1) == f"web is not healthy after 5 s: web is {state}"
    one.look(1.0, seen(process("FATAL", why="can't find command")))
    assert one.failure(1.0) == "web is FATAL (can't find command)"


def test_the_deadline_does_not_end_what_is_healthy() -> None:
    one = judge(passes=1, min_healthy_s=0)
    one.look(9.0, seen(process()))
    one.take(True, "")
    assert one.failure(9.0) == ""


# --- the probes


@pytest.fixture
def server() -> Iterator[dict[str, Any]]:
    """Answers every connection with `bytes`, one at a time with `pause` seconds between them."""
    listener = socket.create_server(("127.0.0.1", 0))
    about: dict[str, Any] = {"bytes": b"", "pause": 0.0, "address": f"127.0.0.1:{listener.getsockname()[1]}"}

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    step = 1 if about["pause"] else 1 << 20
                    for start in range(0, len(about["bytes"]), step):
                        connection.sendall(about["bytes"][start : start + step])
                        time.sleep(about["pause"])
            except OSError:
                if listener.fileno() < 0:
                    return

    threading.Thread(target=serve, daemon=True).start()
    yield about
    listener.close()


@pytest.mark.parametrize(("status", "passes"), [(200, True), (204, True), (302, True), (404, False), (500, False)])
def test_http_passes_from_200_to_399(server: dict[str, Any], status: int, passes: bool) -> None:
    server["bytes"] = f"HTTP/1.0 {status} Word\r\nLocation: http://127.0.0.1:1/\r\n\r\nbody".encode()
    passed, saw = gate.probe_http(f"http://{server['address']}/health?deep=1", 2.0)
    assert passed is passes
    assert saw.startswith(f"GET http://{server['address']}/health?deep=1: {status} Word")


def test_http_shows_two_kilobytes_of_the_body(server: dict[str, Any]) -> None:
    server["bytes"] = b"HTTP/1.0 500 Oh\r\n\r\n" + b"x" * 100_000
    assert 2048 <= len(gate.probe_http(f"http://{server['address']}/", 2.0)[1]) < 2200


def test_an_answer_that_drips_fails_in_time(server: dict[str, Any]) -> None:
    """Each byte comes before the socket's timeout; all of them never do."""
    server.update(bytes=b"HTTP/1.0 200 OK\r\nX: " + b"y" * 10_000, pause=0.05)
    passed, saw = gate.probe_http(f"http://{server['address']}/", 0.4)
    assert not passed
    assert "no whole answer within 0.4 s" in saw


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://127.0.0.1:x/", "nonsense", "http://[/"])
def test_what_cannot_be_asked_is_a_failed_probe(url: str) -> None:
    passed, saw = gate.probe_http(url, 1.0)
    assert not passed
    assert url in saw


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.0 abc\r\n\r\n"])
def test_what_is_not_http_is_a_failed_probe(server: dict[str, Any], answer: bytes) -> None:
    server["bytes"] = answer
    assert not gate.probe_http(f"http://{server['address']}/", 1.0)[0]


def test_tcp_asks_whether_somebody_listens(server: dict[str, Any]) -> None:
    assert gate.probe_tcp(server["address"], 1.0)[0]
    assert gate.probe_tcp(server["address"].removeprefix("127.0.0.1"), 1.0)[0]
    assert not gate.probe_tcp("127.0.0.1:1", 1.0)[0]
    assert not gate.probe_tcp("nonsense", 1.0)[0]
    assert gate.probe_tcp("127.0.0.1:1", 1.0)[1] == "connect to 127.0.0.1:1: Connection refused"


@pytest.fixture
def job(tmp_path: Path) -> runner.Job:
    for name in ("tmp", "state", "etc/conf.d"):
        (tmp_path / name).mkdir(parents=True)
    return runner.Job(request(tmp_path), Wire(-1), threading.Event())


def request(root: Path, **body: Any) -> dict[str, Any]:
    layout = {"root": str(root), "python": "python3", "supervisor_conf_dir": str(root / "etc/conf.d")}
    layout |= {"supervisor_socket": str(root / "s.sock"), "supervisor_from": "index"}
    about = {"protocol": 1, "action": "facts", "host": "h1", "environment": "live", "rollout": "r1", "fence": None}
    return {**about, "layout": layout, "body": body}


def test_a_command_passes_with_exit_code_0(job: runner.Job) -> None:
    run = functools.partial(runner.run, job)
    assert gate.probe_command(run, ("sh", "-c", "echo fine"), 5.0) == (
        True,
        "sh -c echo fine: exit code 0\nfine",
    )
    passed, saw = gate.probe_command(run, ("sh", "-c", "echo wrong >&2; exit 3"), 5.0)
    assert not passed
    assert "exit code 3\nwrong" in saw
    assert not gate.probe_command(run, ("/does/not/exist",), 5.0)[0]


def test_a_command_that_hangs_is_ended_with_its_children(job: runner.Job) -> None:
    run = functools.partial(runner.run, job)
    passed, saw = gate.probe_command(run, ("sh", "-c", "sleep 300 & echo $!; wait"), 0.3)
    assert not passed
    assert "did not end within 0.3 s" in saw
    pid = int(saw.split()[-1])
    state = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- two generations


@pytest.fixture
def listening() -> Iterator[tuple[generation.Sockets, socket.socket]]:
    """The sockets of an application, and the server of its blue program."""
    folder = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))  # paths of sockets are short
    sockets = generation.Sockets(folder / "run")
    sockets.make_room("blue", [{"socket": str(folder / "run/blue/web/sock"), "user": ""}])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "run/blue/web/sock"))
        server.listen()
        sockets.serve("blue")
        yield sockets, server
    shutil.rmtree(folder)


def visitor(sockets: generation.Sockets) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(sockets.folder / "live/web/sock"))
    return made


def test_who_waits_to_be_accepted_is_connected_too(listening: tuple[generation.Sockets, socket.socket]) -> None:
    sockets, server = listening
    assert (sockets.served, sockets.connections("blue"), sockets.connections("green")) == ("blue", 0, 0)
    with visitor(sockets):
        assert sockets.connections("blue") == 1
        with server.accept()[0]:
            assert sockets.connections("blue") == 1
    assert sockets.connections("blue") == 0


def test_draining_waits_for_the_last_connection_and_no_longer_than_its_patience(
    listening: tuple[generation.Sockets, socket.socket],
) -> None:
    sockets, server = listening
    began = time.monotonic()
    with visitor(sockets), server.accept()[0]:
        sockets.drain("blue", 0.3)
    assert time.monotonic() - began >= 0.3
    sockets.drain("blue", 60.0)
    assert time.monotonic() - began < 50


def test_where_the_kernel_shows_no_sockets_somebody_may_be_connected(
    listening: tuple[generation.Sockets, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", hidden)
    assert listening[0].connections("blue") == 1


def test_the_link_may_have_been_lost_or_led_elsewhere(listening: tuple[generation.Sockets, socket.socket]) -> None:
    sockets, _ = listening
    for before in ("green", ""):
        sockets.serve(before)
        assert sockets.served == before
        sockets.serve("blue")
        assert sockets.served == "blue"


def test_both_sides_have_the_same_colours() -> None:
    assert supervisor_file.COLOURS == generation.COLOURS
    assert [generation.other(each) for each in ("", *generation.COLOURS)] == ["blue", "green", "blue"]


def test_setups_of_an_older_runner_know_no_colours() -> None:
    known = generation.setup_of({"conf": "text", "programs": [{"name": "web"}]})
    assert (known.text(""), known.all_programs(""), known.drain_s("blue")) == ("text", [{"name": "web"}], 10.0)


# --- files and texts


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    files.replace_file(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace_file(file, "new")
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_supervisors_own_configuration_doubles_percent_signs(tmp_path: Path) -> None:
    root = tmp_path / "100%"
    text = bootstrap.supervisor_conf(runner.Job(request(root), Wire(-1), threading.Event()))
    parser = supervisord.parse_conf(text)
    assert parser["include"]["files"] == f"{tmp_path}/100%%/etc/conf.d/*.conf"
    assert set(parser["supervisord"]) == {"directory", "childlogdir", "logfile", "pidfile"}


def test_a_log_that_is_rotated_while_the_folder_is_listed_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text("four")
    (tmp_path / "web.log.1").symlink_to("web.log.2")  # listed, and not there when it is looked at
    assert supervisord.log_sizes(tmp_path) == {str(tmp_path / "web.log"): 4}


def test_the_longest_stopwaitsecs_counts() -> None:
    text = "[program:a]\nstopwaitsecs=5\n[program:b]\nstopwaitsecs = 60\n"
    assert supervisord.stop_patience_s(text) == 75
    assert supervisord.stop_patience_s(None) == supervisord.stop_patience_s("[program:a]\n") == 25


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "ä", "-x", "x" * 300, None, 5.5])
def test_what_becomes_part_of_a_path_must_be_a_name(tmp_path: Path, name: object) -> None:
    if isinstance(name, float):
        runner.Job(request(tmp_path, application=str(name)), Wire(-1), threading.Event())
        return
    with pytest.raises(supervisord.Refusal) as caught:
        runner.Job(request(tmp_path, application=name or ""), Wire(-1), threading.Event())
    assert caught.value.code == "bad-request"


def test_a_password_never_leaves_in_whatever_text() -> None:
    reading, writing = os.pipe()
    wire = Wire(writing)
    wire.hide_password("http://__token__:pw%2Dsecret%22@127.0.0.1:1/simple/")
    wire.send("error", problem='pw-secret" and pw%2Dsecret%22')
    os.close(writing)
    with os.fdopen(reading) as heard:
        assert json.loads(heard.read())["problem"] == "*** and ***"


def test_nobody_who_listens_is_no_reason_to_stop() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Wire(writing).send("heartbeat")
    os.close(writing)
