"""What lets another index decide what is installed is found in the files of every client, and told with its remedy."""

from __future__ import annotations

import pytest

from pinwheel.index.installers.faults import ClientFault, Text, holds_secret, pip_faults, project_faults, uv_faults
from pinwheel.index.installers.settings import CLIENTS, Where, settings

BASE = "https://pypi.acme.example"
WHERE = Where(f"{BASE}/simple/", f"{BASE}/legacy/")


def pip(*texts: str, **environ: str) -> list[ClientFault]:
    return list(pip_faults([Text(f"file {number}", text) for number, text in enumerate(texts)], environ, BASE))


def uv(text: str, **environ: str) -> list[ClientFault]:
    return list(uv_faults([Text("uv.toml", text)], environ, BASE))


def project(text: str, where: str = "pyproject.toml", pdm_default: str = "") -> list[ClientFault]:
    return list(project_faults(Text(where, text), BASE, pdm_default=pdm_default))


@pytest.mark.parametrize(
    "text",
    [
        "[global]\nextra-index-url = https://public.example/simple",
        "[install]\nextra_index_url =\n  https://pypi.acme.example/simple/\n  https://u:secret@public.example/simple",
        "[global]\nfind-links = https://wheels.example/",
        "[global]\ntrusted-host = pypi.acme.example:443",
        # another index whose name begins like ours
        "[global]\nextra-index-url = https://pypi.acme.example.net/simple",
    ],
)
def test_what_is_grave_for_pip(text: str) -> None:
    (fault,) = pip(text)
    assert fault.grave
    assert fault.remedy
    assert "secret" not in fault.problem


def test_what_a_stronger_file_empties_no_longer_counts() -> None:
    everybody = "[global]\nextra-index-url = https://public.example/simple\nfind-links = https://wheels.example/\n"
    (mine,) = (file for file in settings("pip", WHERE).files if file.form == "ini")
    assert len(pip(everybody)) == 2
    assert pip(everybody, mine.text) == []
    assert len(pip(everybody, mine.text, PIP_EXTRA_INDEX_URL="https://public.example/simple")) == 1
    assert pip(mine.text, PIP_EXTRA_INDEX_URL="") == []


def test_a_folder_of_this_machine_is_milder() -> None:
    assert [fault.grave for fault in pip("[global]\nfind-links = /opt/wheels\n  file:///opt/pypi")] == [False, False]


def test_another_index_in_place_of_ours_is_mentioned() -> None:
    (fault,) = pip("[global]\nindex-url = https://u:secret@public.example/simple\n")
    assert (fault.grave, "secret" in fault.problem) == (False, False)
    assert pip(f"[global]\nindex-url = {BASE}/c/prod/simple/\n") == []
    (fault,) = pip("", PIP_INDEX_URL="https://public.example/simple")
    assert fault.remedy == "unset PIP_INDEX_URL"


@pytest.mark.parametrize(
    "text",
    [
        '[[index]]\nurl = "https://public.example/simple"\n',
        'extra-index-url = ["https://public.example/simple"]\n',
        'index-url = "https://public.example/simple"\n',
        'index-strategy = "unsafe-best-match"\n',
        '[pip]\nindex-strategy = "unsafe-first-match"\n',
        '[pip]\nfind-links = ["https://wheels.example/"]\n',
        'allow-insecure-host = ["pypi.acme.example"]\n',
    ],
)
def test_what_is_grave_for_uv(text: str) -> None:
    (fault,) = uv(text)
    assert fault.grave
    (fault,) = project("".join(f"{line}\n" for line in _below("tool.uv", text)))
    assert fault.grave
    (fault,) = project(text, "there/uv.toml")
    assert fault.grave


def _below(table: str, text: str) -> list[str]:
    lines = [line.replace("[[", f"[[{table}.") if "[[" in line else line for line in text.splitlines()]
    lines = [line.replace("[pip]", f"[{table}.pip]") for line in lines]
    return lines if lines[0].startswith("[") else [f"[{table}]", *lines]


@pytest.mark.parametrize("variable", ["UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_DEFAULT_INDEX"])
def test_variables_of_uv_count(variable: str) -> None:
    (fault,) = uv("", **{variable: f"public=https://public.example/simple {BASE}/simple/"})
    assert (fault.where, fault.remedy) == (variable, f"unset {variable}")


def test_a_strategy_in_a_variable_counts() -> None:
    assert uv("", UV_INDEX_STRATEGY="unsafe-best-match")
    assert not uv("", UV_INDEX_STRATEGY="first-index")


@pytest.mark.parametrize(
    "text",
    [
        '[[tool.poetry.source]]\nname = "other"\nurl = "https://other.example/simple"\n',
        '[[tool.poetry.source]]\nname = "pinwheel"\nurl = "https://pypi.acme.example/"\npriority = "supplemental"\n',
        '[[tool.pdm.source]]\nname = "pypi"\nurl = "https://public.example/simple"\n',
        '[[tool.pdm.source]]\nname = "pinwheel"\nurl = "https://pypi.acme.example/simple/"\n',
        '[[tool.pdm.source]]\nname = "pypi"\nurl = "https://pypi.acme.example/simple/"\nverify_ssl = false\n',
    ],
)
def test_what_a_project_brings_along_is_grave(text: str) -> None:
    (fault,) = project(text)
    assert fault.grave
    assert fault.where == "pyproject.toml"


def test_poetry_asks_the_public_index_when_it_is_named_or_nothing_is_primary() -> None:
    faults = project('[[tool.poetry.source]]\nname = "PyPI"\npriority = "supplemental"\n')
    assert [("public index beside" in fault.problem, "is primary" in fault.problem) for fault in faults] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[tool.uv]\npackage = true\n",
        '[[tool.uv.index]]\nname = "torch"\nurl = "https://wheels.example/simple"\nexplicit = true\n',
        '[[tool.uv.index]]\nurl = "https://u:x@pypi.acme.example/c/prod/simple/"\ndefault = true\n',
        '[[tool.poetry.source]]\nname = "pinwheel"\nurl = "https://pypi.acme.example/simple"\npriority = "primary"\n',
        '[[tool.pdm.source]]\nname = "pypi"\nurl = "https://pypi.acme.example/simple"\n',
        "[tool]\nuv = 3\n",
    ],
)
def test_what_is_safe_is_not_mentioned(text: str) -> None:
    assert project(text) == []


def test_pdms_own_default_may_be_the_index() -> None:
    text = '[[tool.pdm.source]]\nname = "pinwheel"\nurl = "https://pypi.acme.example/simple/"\n'
    assert project(text, pdm_default=f"{BASE}/simple/") == []


def test_options_in_requirements_count_with_their_line() -> None:
    text = f"attrs\n--extra-index-url=https://public.example/simple # more\n-i {BASE}/simple/\n-f ./wheels\n-r 'open\n"
    faults = project(text, "requirements.txt")
    assert [(fault.where, fault.grave) for fault in faults] == [
        ("requirements.txt:2", True),
        ("requirements.txt:4", False),
    ]


def test_a_broken_file_is_advice() -> None:
    assert [fault.grave for fault in (*pip("nothing"), *uv("= 1"), *project("["))] == [False, False, False]


@pytest.mark.parametrize("client", CLIENTS)
def test_what_we_write_ourselves_is_safe_and_known_to_hold_a_secret(client: str) -> None:
    for file in settings(client, WHERE, "pw_" + "a" * 43).files:
        assert holds_secret(file.text) is file.secret
        faults = {"pip": pip, "uv": uv}.get(client, lambda _text: [])(file.text) if file.form != "netrc" else []
        assert faults == []


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("machine a login b password c\n", True),
        ("[global]\nindex-url = https://u:p@h/simple\n", True),
        ('password = "x"\n', True),
        ("[global]\nindex-url = https://u@h/simple\n", False),
        ("[pypi]\nusername = me\n", False),
        ("[global]\nindex-url = https://u:${TOKEN}@h/simple\n", False),
    ],
)
def test_a_password_is_recognised(text: str, holds: bool) -> None:
    assert holds_secret(text) is holds
