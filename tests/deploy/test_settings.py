"""An application in an environment: the environment's word stands above the application's and the program's."""

from __future__ import annotations

import pytest

from pinwheel.config import (
    Application,
    ApplicationHere,
    Environment,
    Host,
    Limits,
    Program,
    ProgramHere,
    Secret,
    Task,
)
from pinwheel.deploy.inventory import settings
from pinwheel.errors import UsageError

ELSEWHERE = Secret(variable="X")


def program(**about: object) -> Program:
    return Program(command=("x",), **about)  # type: ignore[arg-type]


def environment(**here: object) -> Environment:
    return Environment(hosts={"h1": Host()}, applications={"shop": ApplicationHere(**here)} if here else {})  # type: ignore[arg-type]


def settled(application: Application, **here: object) -> Application:
    return settings.settled("shop", application, "live", environment(**here))


def test_each_layer_stands_above_the_one_before() -> None:
    application = Application(
        environment={"A": "application", "B": "application", "C": "application", "D": "application"},
        programs={"web": program(environment={"B": "program", "C": "program", "D": "program"}), "worker": program()},
    )
    programs = {"web": ProgramHere(environment={"D": "program here"})}
    made = settled(application, environment={"C": "here", "D": "here"}, programs=programs).programs
    assert made["web"].environment == {"A": "application", "B": "program", "C": "here", "D": "program here"}
    assert made["worker"].environment == {"A": "application", "B": "application", "C": "here", "D": "here"}


def test_a_variable_can_be_a_secret_in_one_environment_and_plain_in_another() -> None:
    plain = Application(environment={"URL": "sqlite://"}, programs={"web": program()})
    web = settled(plain, secrets={"URL": ELSEWHERE}).programs["web"]
    assert (web.environment, web.secrets) == ({}, ("URL",))
    hidden = Application(secrets={"URL": ELSEWHERE}, programs={"web": program()})
    web = settled(hidden, environment={"URL": "sqlite://"}).programs["web"]
    assert (web.environment, web.secrets) == ({"URL": "sqlite://"}, ())


def test_a_program_gets_the_secrets_that_it_names() -> None:
    programs = {"web": program(), "mail": program(secrets=("B",)), "clock": program(secrets=())}
    made = settled(Application(secrets={"A": ELSEWHERE, "B": ELSEWHERE}, programs=programs)).programs
    assert {key: each.secrets for key, each in made.items()} == {"web": ("A", "B"), "mail": ("B",), "clock": ()}


@pytest.mark.parametrize(
    ("application", "here", "where"),
    [
        ({"secrets": {"A": Secret()}}, {}, "applications.shop.secrets.A"),
        ({"secrets": {"A": Secret(file="f", variable="v")}}, {}, "applications.shop.secrets.A"),
        ({"secrets": {"../A": ELSEWHERE}}, {}, "applications.shop.secrets.../A"),
        ({}, {"secrets": {"A": Secret()}}, "environments.live.applications.shop.secrets.A"),
        ({"secrets": {"A": ELSEWHERE}, "environment": {"A": "b"}}, {}, "applications.shop.environment.A"),
        ({"programs": {"web": program(secrets=("A",))}}, {}, "applications.shop.programs.web.secrets"),
        ({}, {"programs": {"mail": ProgramHere()}}, "environments.live.applications.shop.programs"),
        ({"tasks": {"t": Task(command=())}}, {}, "applications.shop.tasks.t.command"),
        ({"tasks": {"t": Task(command=("x",), program="mail")}}, {}, "applications.shop.tasks.t.program"),
        ({"tasks": {"t": Task(command=("x",), host="h9")}}, {}, "applications.shop.tasks.t.host"),
        ({"tasks": {"../t": Task(command=("x",))}}, {}, "applications.shop.tasks.../t"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(
    application: dict[str, object], here: dict[str, object], where: str
) -> None:
    with pytest.raises(UsageError) as caught:
        settled(Application(**{"programs": {"web": program()}, **application}), **here)  # type: ignore[arg-type]
    assert caught.value.where == where
    assert caught.value.remedy


def test_limits_are_numbers_or_sizes() -> None:
    limits = Limits(nofile=65536, memory="512MiB", core=0, stack="unlimited")
    assert settings.limits(program(limits=limits), "x") == {
        "nofile": 65536,
        "memory": 512 << 20,
        "core": 0,
        "stack": -1,
    }


@pytest.mark.parametrize("value", ["512", "512MB", "-1", -1, 1 << 63, "MiB", "many"])
def test_what_is_no_limit_is_refused(value: int | str) -> None:
    with pytest.raises(UsageError, match="is no limit") as caught:
        settings.limits(program(limits=Limits(memory=value)), "limits")
    assert caught.value.where == "limits.memory"


@pytest.mark.parametrize(("wanted", "name"), [("web", "web"), ("shop-web", "web"), ("", "")])
def test_a_program_is_named_as_in_the_configuration_or_as_on_the_host(wanted: str, name: str) -> None:
    assert settings.program("shop", Application(programs={"web": program()}), wanted) == name


def test_a_program_that_there_is_not_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="there is no program 'mail'") as caught:
        settings.program("shop", Application(programs={"web": program()}), "mail")
    assert (caught.value.where, caught.value.remedy) == ("--program", "known: web")
