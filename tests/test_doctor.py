"""The doctor names each fault with its remedy, and says when all is well."""

from __future__ import annotations

import os
from pathlib import Path

from pinwheel.doctor import Finding, examine, report


def about(findings: list[Finding], subject: str) -> Finding:
    return next(one for one in findings if one.subject == subject)


def look(folder: Path, text: str, **environ: str) -> list[Finding]:
    (folder / "pinwheel.toml").write_text(text)
    return examine(folder, {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(folder)} | environ)


def test_a_machine_without_git_cannot_build(tmp_path: Path) -> None:
    finding = about(examine(tmp_path, {"PATH": str(tmp_path)}), "git")
    assert finding.level == "fault"
    assert "apt-get install git" in finding.remedy


def test_no_configuration_is_advice(tmp_path: Path) -> None:
    findings = examine(tmp_path, {"PATH": os.environ["PATH"]})
    assert about(findings, "configuration").remedy == "pinwheel init"
    assert report(findings, as_json=True)


def test_a_broken_configuration_is_a_fault_with_its_line(tmp_path: Path) -> None:
    findings = look(tmp_path, "[index]\nulr = 1\n")
    assert (
        "pinwheel.toml:2: index.ulr: unknown key; did you mean index.url?" in about(findings, "configuration").problem
    )
    assert not report(findings, as_json=False)


def test_a_token_that_others_can_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    (tmp_path / "token").chmod(0o644)
    text = '[index]\nurl = "http://127.0.0.1:9/"\ntoken_file = "token"\n'
    finding = about(look(tmp_path, text), "index.token_file")
    assert finding.level == "fault"
    assert finding.remedy == f"chmod 600 {tmp_path / 'token'}"


def test_keys_and_signers_that_are_not_there_are_faults(tmp_path: Path) -> None:
    (tmp_path / "signers").write_text("")
    text = '[packaging]\nsigning_key = "key"\nallowed_signers = "{}"\n'
    for signers, faults in (("signers", ["signing_key"]), ("gone", ["signing_key", "allowed_signers"])):
        found = look(tmp_path, text.format(signers))
        assert [one.subject for one in found if one.level == "fault"] == [f"packaging.{each}" for each in faults]


def test_a_deploy_key_that_others_can_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x")
    (tmp_path / "key").chmod(0o640)
    findings = look(tmp_path, '[repositories."ssh://git@git.acme.example/a.git"]\ndeploy_key = "key"\n')
    finding = about(findings, 'repositories."ssh://git@git.acme.example/a.git".deploy_key')
    assert (finding.level, finding.remedy) == ("fault", f"chmod 600 {tmp_path / 'key'}")


def test_an_index_that_is_away_is_a_fault(tmp_path: Path) -> None:
    finding = about(look(tmp_path, '[index]\nurl = "http://127.0.0.1:9/"\n'), "index")
    assert finding.level == "fault"
    assert finding.remedy


def test_an_exception_from_the_cool_down_that_has_ended_is_mentioned(tmp_path: Path) -> None:
    text = '[[index.exceptions]]\nrelease = "{}"\nreason = "fix"\nuntil = {}-12-01\n'
    findings = look(tmp_path, text.format("a==1", 2020) + text.format("b==1", 2999) + text.format("c", 2999))
    told = [(one.level, one.subject) for one in findings if "exceptions" in one.subject]
    assert told == [("advice", "index.exceptions.0"), ("fault", "index.exceptions.2")]


def test_hosts_without_known_keys_are_a_fault(tmp_path: Path) -> None:
    text = '[environments.prod]\nknown_hosts = "absent"\n[environments.prod.hosts.web1]\n'
    finding = about(look(tmp_path, text), "environments.prod")
    assert finding.level == "fault"
    assert "--scan-host-keys" in finding.remedy


def test_events_that_wait_are_mentioned(tmp_path: Path) -> None:
    refused = tmp_path / "pinwheel" / "spool" / "0123456789abcdef" / "refused"
    refused.mkdir(parents=True)
    (refused / "one.json").write_text("{}")
    (refused.parent / "two.json").write_text("{}")
    told = [one.problem for one in look(tmp_path, "") if one.subject == "ledger"]
    assert told == ["1 events wait for the index", "1 events cannot be delivered"]


def test_what_packaging_cannot_work_with_is_a_fault(tmp_path: Path) -> None:
    text = (
        '[packaging]\npython = "eleven"\npythons = ["3"]\noldest_glibc = "old"\ncache = "pinwheel.toml/cache"\n'
        'platforms = ["linux"]\n[projects.a]\nrepository = "absent"\npythons = ["3.11", "3.x"]\n'
    )
    found = {one.subject for one in look(tmp_path, text) if one.level == "fault"}
    packaging = {f"packaging.{key}" for key in ("python", "pythons", "platforms", "oldest_glibc", "cache")}
    assert found == {*packaging, "projects.a", "projects.a.pythons"}


def test_a_python_that_builds_need_and_that_is_not_here_is_advice(tmp_path: Path) -> None:
    told = [one.problem for one in look(tmp_path, '[packaging]\npythons = ["3.99"]\n') if one.subject == "pythons"]
    assert [one.partition(":")[0] for one in told] == ["Python 3.99 is not on this machine"]


INDEX = '[index]\nurl = "http://127.0.0.1:9/"\n'


def clients(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.subject == "clients" and one.level == "fault"]


def test_a_second_index_is_found_wherever_a_client_reads_it(tmp_path: Path) -> None:
    home, repository = tmp_path / "home", tmp_path / "repository"
    for file, text in {
        home / ".config/pip/pip.conf": "[global]\nextra-index-url = https://public.example/simple\n",
        home / ".config/uv/uv.toml": 'index-strategy = "unsafe-best-match"\n',
        tmp_path / "pyproject.toml": '[[tool.uv.index]]\nurl = "https://public.example/simple"\n',
        repository / "requirements.txt": "--extra-index-url https://public.example/simple\n",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    text = f'{INDEX}[projects.a]\nrepository = "repository"\n'
    found = clients(look(tmp_path, text, HOME=str(home), UV_INDEX="https://public.example/simple"))
    assert [one.problem.partition(": ")[0] for one in found] == [
        str(home / ".config/pip/pip.conf"),
        str(home / ".config/uv/uv.toml"),
        "UV_INDEX",
        str(tmp_path / "pyproject.toml"),
        f"{repository / 'requirements.txt'}:1",
    ]
    assert all(one.remedy for one in found)
    assert not clients(look(tmp_path, "", HOME=str(home))), "without an index there is nothing to be beside"


def test_a_file_of_passwords_that_others_can_read_is_a_fault(tmp_path: Path) -> None:
    for name, text in {".netrc": "machine a login b password c\n", ".pypirc": "[pypi]\npassword = c\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    found = clients(look(tmp_path, "", HOME=str(tmp_path)))
    assert [one.remedy for one in found] == [f"chmod 600 {tmp_path / '.netrc'}", f"chmod 600 {tmp_path / '.pypirc'}"]
    for name in (".netrc", ".pypirc"):
        (tmp_path / name).chmod(0o600)
    assert not clients(look(tmp_path, "", HOME=str(tmp_path)))


def test_with_one_index_alone_the_clients_are_well(tmp_path: Path) -> None:
    found = [one for one in look(tmp_path, INDEX, HOME=str(tmp_path)) if one.subject == "clients"]
    assert found[-1].level == "good"
