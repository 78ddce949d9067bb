"""What supervisor reads is what was meant: the conf text, read back with supervisor's own code."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as some
from supervisor.datatypes import dict_of_key_value_pairs
from supervisor.options import UnhosedConfigParser
from tests.deploy.simulated import target

from pinwheel.config import Application, Health, Layout, Program
from pinwheel.deploy.planning import supervisor_file
from pinwheel.deploy.planning.supervisor_file import Instance
from pinwheel.errors import UsageError

ROOT = "/srv/pinwheel/apps/shop"
RELEASE = "1.0.0-aaaaaaaa"
PATH = f"{ROOT}/releases/{RELEASE}"

words = some.text(some.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="{}"), max_size=20)


def application(**program: object) -> Application:
    return Application(programs={"web": Program(**{"command": ("{release}/bin/shop",), **program})})  # type: ignore[arg-type]


def read(app: Application, **variables: str) -> UnhosedConfigParser:
    parser = UnhosedConfigParser()  # type: ignore[no-untyped-call]
    text = supervisor_file.conf(Instance("shop", app, target("h1", **variables), RELEASE, "1.0.0"))
    parser.read_string(text)  # type: ignore[no-untyped-call]
    return parser


def command(parser: UnhosedConfigParser) -> list[str]:
    """As supervisor does it: expand %, then split."""
    return shlex.split(parser.get("program:shop-web", "command") % {"program_name": "shop-web"})


def test_the_group_holds_the_programs_and_commands_hold_the_resolved_release() -> None:
    programs = {
        "web": Program(command=("{release}/bin/shop", "--port", "{port}")),
        "worker": Program(command=("work",)),
    }
    parser = read(Application(programs=programs), port="8001")
    assert parser.sections() == ["group:shop", "program:shop-web", "program:shop-worker"]
    assert parser.get("group:shop", "programs") == "shop-web,shop-worker"
    assert command(parser) == [f"{PATH}/bin/shop", "--port", "8001"]


def test_the_release_path_is_below_the_layouts_root() -> None:
    assert Instance("shop", application(), target("h1"), RELEASE, "1.0.0").path == PATH


@given(argv=some.lists(words, min_size=1, max_size=5))
def test_any_argument_reaches_the_program_as_it_is(argv: list[str]) -> None:
    assert command(read(application(command=tuple(argv)))) == argv


@pytest.mark.parametrize("argument", ["a ;b", "a #b", "; b", "#", "it's ;'x", "50% off", "%(here)s", "", " "])
def test_what_supervisor_would_take_for_a_comment_or_a_variable_is_protected(argument: str) -> None:
    assert command(read(application(command=("run", argument, "end")))) == ["run", argument, "end"]


@given(value=words)
def test_an_environment_value_reaches_the_program_or_is_refused(value: str) -> None:
    try:
        parser = read(application(environment={"A": value, "B": "two, three"}))
    except UsageError:
        return
    text = parser.get("program:shop-web", "environment") % {}
    read_back = dict_of_key_value_pairs(text)  # type: ignore[no-untyped-call]
    assert read_back == {"A": value, "B": "two, three"}


@pytest.mark.parametrize("value", ["both ' and \"", "'quoted'", "a ;b", "two\nlines"])
def test_an_environment_value_that_supervisor_cannot_express_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        read(application(environment={"A": value}))


@pytest.mark.parametrize("key", ["", "A B", "A=B", "A-B"])
def test_a_key_that_is_no_variable_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        read(application(environment={key: "value"}))


def test_a_command_of_several_lines_or_of_nothing_is_refused() -> None:
    for wrong in (("run", "two\nlines"), ()):
        with pytest.raises(UsageError):
            read(application(command=wrong))


def test_an_unknown_variable_is_refused_with_the_key_and_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"\{prot\}") as caught:
        read(application(command=("run", "{prot}")), port="1")
    assert caught.value.where == "applications.shop.programs.web.command"
    assert "{port}" in caught.value.remedy


def test_several_processes_have_names_that_conf_and_gate_agree_on() -> None:
    app = application(processes=2)
    parser = read(app)
    assert parser.get("program:shop-web", "numprocs") == "2"
    form = parser.get("program:shop-web", "process_name")
    (program,) = supervisor_file.programs(Instance("shop", app, target("h1"), RELEASE, "1.0.0"))
    assert program["processes"] == [form % {"program_name": "shop-web", "process_num": number} for number in (0, 1)]


def health(**checks: object) -> dict[str, object]:
    """What becomes of a health check on host h1 with port 80."""
    app = application(health=Health(**checks))  # type: ignore[arg-type]
    (program,) = supervisor_file.programs(Instance("shop", app, target("h1", port="80"), RELEASE, "1.0.0"))
    assert program["name"] == "shop-web"
    return dict(program["health"])


@pytest.mark.parametrize(
    ("key", "given", "filled"),
    [
        ("http", "http://127.0.0.1:{port}/{version}", "http://127.0.0.1:80/1.0.0"),
        ("http", "https://{host}.example", "https://h1.example"),
        ("http", "http://[::1]:{port}/a?b=%20#c", "http://[::1]:80/a?b=%20#c"),
        ("tcp", "{host}:1", "h1:1"),
        ("tcp", "[::1]:{port}", "[::1]:80"),
        ("tcp", ":{port}", ":80"),
        ("command", ("{release}/bin/ok",), [f"{PATH}/bin/ok"]),
    ],
)
def test_health_checks_are_filled_in(key: str, given: object, filled: object) -> None:
    made = health(**{key: given})
    assert made[key] == filled
    assert made["deadline_s"] == 30.0


@pytest.mark.parametrize(
    ("key", "given"),
    [
        *(
            ("http", given)
            for given in ("127.0.0.1:{port}/health", "/health", "http:///health", "ftp://h1/", "http://")
        ),
        *(("http", given) for given in ("http://h1:eighty/", "http://h1:99999/", "http://h1:0/", "http://[::1/")),
        *(("http", given) for given in ("http://h1/two words", "http://h1/ä", "http://h1/\n")),
        *(("tcp", given) for given in ("{port}", "h1", "h1:", "h1:http", "h1:0", "h1:65536", "::1:80", "tcp://h1:80")),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_with_its_key(key: str, given: str) -> None:
    with pytest.raises(UsageError) as caught:
        health(**{key: given})
    assert caught.value.where == f"applications.shop.programs.web.health.{key}"
    assert "127.0.0.1:8000" in caught.value.remedy


def test_a_program_has_one_health_check() -> None:
    with pytest.raises(UsageError, match="http and command") as caught:
        health(http="http://h1/", command=("true",))
    assert caught.value.where == "applications.shop.programs.web.health.command"


def test_a_setup_is_the_same_for_the_same_input() -> None:
    here = Instance("shop", application(), target("h1"), RELEASE, "1")
    for make in (supervisor_file.conf, supervisor_file.programs):
        assert make(here) == make(here)


def beside(**program: object) -> Application:
    """One program that is replaced without downtime, and one that is not."""
    web: dict[str, object] = {"command": ("{release}/bin/shop", "unix:{socket}"), "zero_downtime": True, **program}
    return Application(programs={"web": Program(**web), "worker": Program(command=("work",))})  # type: ignore[arg-type]


def test_what_is_replaced_without_downtime_stands_in_both_colours_and_nowhere_else() -> None:
    made = supervisor_file.setup(Instance("shop", beside(), target("h1"), RELEASE, "1.0.0"))
    parsers = []
    for text in (made.conf, *(made.colours[each].conf for each in ("blue", "green"))):
        parsers.append(UnhosedConfigParser())  # type: ignore[no-untyped-call]
        parsers[-1].read_string(text)  # type: ignore[no-untyped-call]
    assert [each.sections() for each in parsers] == [
        ["group:shop", "program:shop-worker"],
        ["group:shop@blue", "program:shop-web@blue"],
        ["group:shop@green", "program:shop-web@green"],
    ]
    for colour, parser in zip(("blue", "green"), parsers[1:], strict=True):
        (program,) = made.colours[colour].programs
        socket, section = f"{ROOT}/run/{colour}/web/sock", f"program:shop-web@{colour}"
        assert shlex.split(parser.get(section, "command")) == [f"{PATH}/bin/shop", f"unix:{socket}"]
        assert (program["socket"], program["drain_s"], program["user"]) == (socket, 10.0, "")
        assert [parser.get(section, "process_name")] == program["processes"], "in both colours the same"
        assert parser.get(section, "stdout_logfile") == f"{ROOT}/log/shop-web@{colour}.log"
    assert [each["name"] for each in made.programs] == ["shop-worker"]


def test_an_application_may_have_nothing_but_what_is_replaced_without_downtime() -> None:
    app = Application(programs={"web": beside().programs["web"]})
    made = supervisor_file.setup(Instance("shop", app, target("h1"), RELEASE, "1.0.0"))
    assert (made.conf, made.programs, set(made.colours)) == ("", (), {"blue", "green"})
    assert made.text("green") == made.colours["green"].conf
    assert made.text("") == made.colours["blue"].conf
    assert supervisor_file.setup(Instance("shop", application(), target("h1"), RELEASE, "1.0.0")).colours == {}


def test_the_socket_may_be_told_by_the_environment_and_is_unknown_without_zero_downtime() -> None:
    app = beside(command=("serve",), environment={"BIND": "{socket}"})
    made = supervisor_file.setup(Instance("shop", app, target("h1"), RELEASE, "1.0.0"))
    assert f'BIND="{ROOT}/run/blue/web/sock"' in made.colours["blue"].conf
    with pytest.raises(UsageError, match=r"\{socket\}"):
        read(application(command=("serve", "{socket}")))


@pytest.mark.parametrize(
    ("program", "key"),
    [
        ({"command": ("serve", "--port", "80")}, "command"),
        ({"processes": 2}, "processes"),
        ({"health": Health(tcp=":80")}, "health.tcp"),
    ],
)
def test_what_cannot_run_beside_its_successor_is_refused_with_its_key(program: dict[str, object], key: str) -> None:
    with pytest.raises(UsageError) as caught:
        supervisor_file.setup(Instance("shop", beside(**program), target("h1"), RELEASE, "1.0.0"))
    assert caught.value.where == f"applications.shop.programs.web.{key}"


def test_a_socket_with_a_longer_path_than_linux_allows_is_refused() -> None:
    here = dataclasses.replace(target("h1"), layout=Layout(root="/srv/" + "x" * 80))
    with pytest.raises(UsageError, match="107 bytes"):
        supervisor_file.setup(Instance("shop", beside(), here, RELEASE, "1.0.0"))


def test_the_sockets_path_is_the_one_that_the_kernel_shows() -> None:
    here = dataclasses.replace(target("h1"), layout=Layout(root="/srv//pinwheel/"))
    made = supervisor_file.setup(Instance("shop", beside(), here, RELEASE, "1.0.0"))
    assert made.colours["blue"].programs[0]["socket"] == f"{ROOT}/run/blue/web/sock"
