"""What the deploy bench tells all its subjects, and what it makes of what it sees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL, Figure, Table, ratio, rows
from ci.bench.rollouts import many, real, subjects, work
from ci.bench.rollouts.witness import Seen, Witness
from ci.bench.rollouts.work import Place, Work
from ci.bench.rounds import Taken
from ci.bench.station_deploy import SIMULATED, SIZES, chosen
from tests.lab import rootlab

HASH = "sha256:" + "0" * 64


def test_a_lock_is_told_with_one_pin_and_its_hashes_on_each_line() -> None:
    text = f"# by a tool\nflask==3.0 \\\n    --hash={HASH} \\\n    --hash={HASH}\nblinker==1.9 \\\n    --hash={HASH}\n"
    assert work.pins(text) == (f"blinker==1.9 --hash={HASH}", f"flask==3.0 --hash={HASH} --hash={HASH}")


@pytest.mark.parametrize(("hosts", "batches"), [(1, [1]), (4, [1, 1, 1, 1]), (10, [3, 3, 3, 1])])
def test_batches_are_a_quarter_rounded_up(hosts: int, batches: list[int], tmp_path: Path) -> None:
    assert [len(names) for names in work.batches(wanted(tmp_path, hosts))] == batches


def test_everybody_is_told_the_same_conf_and_gate(tmp_path: Path) -> None:
    told = work.document(wanted(tmp_path, 2))
    (conf,) = {host["conf"] for host in told["hosts"].values()}
    assert f"command={tmp_path}/releases/1.1/bin/app --port 8000\n" in conf
    assert conf.endswith("user=www-data\n")
    assert {tuple(host["gate"])[-1] for host in told["hosts"].values()} == {"http://127.0.0.1:8000/"}


def test_seconds_without_answer_go_from_the_first_bad_request_to_the_next_good_answer() -> None:
    good, bad = True, False
    calm = [Seen(0.0, 0.1, good), Seen(3.0, 3.1, good)]
    shaken = [Seen(0.0, 0.1, good), Seen(1.0, 1.1, bad), Seen(2.0, 2.1, bad), Seen(3.0, 3.5, good)]
    witness = Witness({"a": calm, "b": shaken})
    assert witness.without_answer_s() == pytest.approx(1.25)  # 2.5 s of one of two hosts
    assert witness.unsafe_s() == pytest.approx(1.1)
    assert Witness({"a": calm}).unsafe_s() == 0


def test_a_subject_that_fails_in_a_later_round_has_no_figures_at_that_task() -> None:
    taken = Taken()

    def fails() -> Mapping[str, float]:
        raise BenchFailed("no route to host")

    assert taken.note_all("rollout", "peer", "s", lambda: {"s": 1.0, "CPU s": 2.0})
    assert not taken.note_all("rollout", "peer", "s", fails)
    (line,) = rows(Table("deploy", taken.figures()))
    assert line[:3] == ("rollout", "peer", "not measured: no route to host")
    with pytest.raises(BenchFailed):
        taken.note_all("rollout", PINWHEEL, "s", fails)


def test_nothing_is_once_as_much_as_nothing() -> None:
    figures = [Figure("broken", subject, "hosts", (0.0,)) for subject in (PINWHEEL, "script")]
    assert ratio(figures, figures[1]) == 1.0


def test_only_names_sizes_and_peers() -> None:
    everybody = [peer.key for peer in subjects.peers()]
    sizes, peers = chosen(())
    assert (sizes, [peer.key for peer in peers]) == ([*SIZES, SIMULATED], everybody)
    sizes, peers = chosen(("10", "ansible"))
    assert (sizes, [peer.key for peer in peers]) == ([10], ["ansible"])
    with pytest.raises(BenchFailed, match="not puppet"):
        chosen(("4", "puppet"))


def test_the_scripts_gate_wants_good_answers_in_a_row(tmp_path: Path) -> None:
    script = Path(subjects.__file__).with_name("script_steps.py")
    wish = tmp_path / "wish.json"
    wish.write_text(json.dumps(work.document(wanted(tmp_path, 1))))
    code = f"import json,runpy,sys; steps=runpy.run_path({str(script)!r}); wish=json.load(open(sys.argv[1])); "
    code += "sys.stdout.buffer.write(steps['script'](wish, wish['hosts']['host0'], 'uv'))"
    made = subprocess.run((sys.executable, "-c", code, str(wish)), capture_output=True, check=True).stdout
    checked = subprocess.run(("sh", "-n"), input=made, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.slow
def test_many_simulated_hosts_all_answer(tmp_path: Path) -> None:
    taken = Taken()
    many.measure(taken, tmp_path / "many", 20, 1)
    assert not taken.missing
    assert {subject for _, subject, _ in taken.rounds} == {PINWHEEL, many.POOL, many.GROUP}


@pytest.mark.root
def test_the_limit_and_pinwheel_do_the_same_work_on_real_hosts(tmp_path: Path) -> None:
    if missing := rootlab.requirements():
        pytest.skip(f"the root lab needs {', '.join(missing)}")
    taken = Taken()
    limit = [peer for peer in subjects.peers() if peer.key == "script-clone"]
    real.measure(taken, tmp_path / "real", [1], limit, 1)
    assert not taken.missing
    for subject in (PINWHEEL, limit[0].name):
        assert taken.rounds["broken release, 1 hosts", subject, real.LEFT] == [0]
        assert taken.rounds["one wheel changed, 1 hosts", subject, real.LOGINS] == [1]


def wanted(folder: Path, hosts: int) -> Work:
    place = {"address": "127.0.0.1", "port": 22, "root": str(folder), "conf_dir": "/etc", "python": "python3"}
    return Work(
        subject="script",
        version="1.1",
        requirements=(f"flask==3.0 --hash={HASH}",),
        index_url="http://127.0.0.1/simple/",
        places=tuple(
            Place(name=f"host{number}", uv="uv", supervisorctl=("supervisorctl",), app_port=8000, **place)  # type: ignore[arg-type]
            for number in range(hosts)
        ),
        batch=work.batch_size(hosts),
        user="deploy",
        identity_file="id",
        known_hosts="known_hosts",
        become=("sudo", "-n"),
        run_as="www-data",
        command="{release}/bin/app --port {port}",
    )
