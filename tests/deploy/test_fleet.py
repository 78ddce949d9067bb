"""From the configuration to hosts: addresses, layouts and names."""

from __future__ import annotations

import pytest

from pinwheel.config import Application, Config, Environment, Host, Layout, Program
from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.inventory.template import fill
from pinwheel.errors import UsageError


def test_a_host_takes_from_its_environment_what_it_does_not_say_itself() -> None:
    hosts = {"h1": Host(), "h2": Host(address="10.0.0.2", port=2222, user="root", variables={"port": "80"})}
    environment = Environment(hosts=hosts, user="deploy", port=2200, become=("sudo",))
    one, two = fleet.targets("live", environment)
    assert (one.name, one.address, one.port, one.user, one.become) == ("h1", "h1", 2200, "deploy", ("sudo",))
    assert (two.address, two.port, two.user, two.variables) == ("10.0.0.2", 2222, "root", {"port": "80"})


def test_the_layout_may_name_the_host_and_its_variables() -> None:
    layout = Layout(root="/lab/{host}/{disk}", supervisor_socket="/run/{host}.sock")
    environment = Environment(hosts={"h1": Host(variables={"disk": "fast"})}, layout=layout)
    (one,) = fleet.targets("live", environment)
    assert (one.layout.root, one.layout.supervisor_socket) == ("/lab/h1/fast", "/run/h1.sock")
    assert one.layout.supervisor_conf_dir == "/etc/supervisor/conf.d"


@pytest.mark.parametrize("root", ["srv/pinwheel", "/srv/50%", "/srv/{disk}", "/srv/a;b"])
def test_a_layout_that_cannot_work_is_refused_with_its_key(root: str) -> None:
    with pytest.raises(UsageError) as caught:
        fleet.targets("live", Environment(hosts={"h1": Host()}, layout=Layout(root=root)))
    assert caught.value.where == "environments.live.layout.root"


def test_unknown_names_are_answered_with_the_nearest_known_one() -> None:
    config = Config(
        environments={"production": Environment(hosts={"h1": Host()})},
        applications={"shop": Application(programs={"web": Program(command=("x",))})},
    )
    assert fleet.environment(config, "production").hosts
    assert fleet.application(config, "shop").programs
    with pytest.raises(UsageError, match="'prodution'") as caught:
        fleet.environment(config, "prodution")
    assert "did you mean production?" in caught.value.remedy
    with pytest.raises(UsageError, match="'shopp'"):
        fleet.application(config, "shopp")


@pytest.mark.parametrize(
    ("name", "application"),
    [
        ("shop", Application()),
        ("../shop", Application(programs={"web": Program(command=("x",))})),
        ("shop", Application(programs={"web:1": Program(command=("x",))})),
        ("shop", Application(programs={"web": Program(command=("x",), processes=0)})),
    ],
)
def test_an_application_that_cannot_run_is_refused(name: str, application: Application) -> None:
    with pytest.raises(UsageError) as caught:
        fleet.application(Config(applications={name: application}), name)
    assert caught.value.where.startswith(f"applications.{name}")


def test_an_environment_without_hosts_is_refused() -> None:
    with pytest.raises(UsageError, match="no hosts"):
        fleet.environment(Config(environments={"live": Environment(hosts={})}), "live")


def test_templates_fill_names_and_leave_doubled_braces() -> None:
    assert fill("{a}-{{a}}-{b}", {"a": "1", "b": "2"}, "here") == "1-{a}-2"


@pytest.mark.parametrize("text", ["{", "}", "{a!r}", "{a:>5}", "{a.b}", "{}", "{0}"])
def test_templates_know_nothing_but_names(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        fill(text, {"a": "1"}, "here")
    assert caught.value.where == "here"
