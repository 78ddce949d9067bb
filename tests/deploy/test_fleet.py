"""From the configuration to hosts: addresses, layouts and names."""

from __future__ import annotations

import pytest

from pinwheel.config import Application, Config, Environment, Group, Host, Layout, Program
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


def grouped(**groups: Group) -> Environment:
    hosts = {"web1": Host(variables={"port": "1"}), "web2": Host(), "db1": Host(), "old": Host()}
    return Environment(hosts=hosts, groups=groups, variables={"port": "0", "region": "eu"})


def test_a_host_is_in_the_groups_that_name_it_or_mean_it_by_a_glob() -> None:
    environment = grouped(web=Group(hosts=("web*",)), data=Group(hosts=("db1", "old")), all=Group(hosts=("*",)))
    found = {each.name: each.groups for each in fleet.targets("live", environment)}
    assert found == {"web1": ("web", "all"), "web2": ("web", "all"), "db1": ("data", "all"), "old": ("data", "all")}


def test_the_nearer_a_variable_is_to_the_host_the_more_it_counts() -> None:
    """The environment's, then those of its groups, the later ones more, then its own."""
    one = Group(hosts=("web*",), variables={"port": "2", "zone": "a", "disk": "slow"})
    two = Group(hosts=("web2",), variables={"zone": "b"})
    web1, web2, db1, _ = fleet.targets("live", grouped(one=one, two=two))
    assert web1.variables == {"port": "1", "region": "eu", "zone": "a", "disk": "slow"}
    assert web2.variables == {"port": "2", "region": "eu", "zone": "b", "disk": "slow"}
    assert db1.variables == {"port": "0", "region": "eu"}


def test_a_group_of_a_host_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="'wbe1'") as caught:
        fleet.targets("live", grouped(web=Group(hosts=("wbe1",))))
    assert caught.value.where == "environments.live.groups.web.hosts"
    assert "did you mean web1?" in caught.value.remedy


def limited(hosts: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> list[str]:
    environment = grouped(web=Group(hosts=("web*",)), data=Group(hosts=("db1", "old")))
    found = fleet.limited("live", environment, fleet.targets("live", environment), hosts, groups)
    return [each.name for each in found]


def test_a_limit_by_hosts_and_groups_takes_globs_and_keeps_the_order_of_the_configuration() -> None:
    assert limited() == ["web1", "web2", "db1", "old"]
    assert limited(("old", "web*")) == ["web1", "web2", "old"]
    assert limited(("old,web2",)) == ["web2", "old"]
    assert limited(groups=("d*",)) == ["db1", "old"]
    assert limited(("*1",), ("web", "data")) == ["web1", "db1"]


@pytest.mark.parametrize(
    ("hosts", "groups", "told"),
    [
        (("web3",), (), "did you mean web2?"),
        (("mail*",), (), "known: db1, old, web1, web2"),
        ((), ("wbe",), "did you mean web?"),
        (("db1",), ("web",), "each of them limits the other"),
    ],
)
def test_a_limit_that_means_no_host_is_refused(hosts: tuple[str, ...], groups: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        limited(hosts, groups)
    assert told in caught.value.remedy


def shop(*groups: str, **programs: tuple[str, ...]) -> Application:
    made = {name: Program(command=("x",), groups=each) for name, each in programs.items()}
    return Application(groups=groups, programs=made)


def placed(application: Application) -> dict[str, list[str]]:
    environment = grouped(web=Group(hosts=("web*",)), data=Group(hosts=("db1",)))
    found = fleet.placed("shop", application, "live", environment.groups, fleet.targets("live", environment))
    return {host: [*each.programs] for host, each in found.items()}


def test_an_application_runs_where_its_groups_are_and_each_program_where_its_own_are() -> None:
    assert [*placed(shop(web=()))] == ["web1", "web2", "db1", "old"]
    assert placed(shop("data", web=())) == {"db1": ["web"]}
    assert placed(shop(web=("web",), worker=("data",), cron=("web", "data"))) == {
        "web1": ["web", "cron"],
        "web2": ["web", "cron"],
        "db1": ["worker", "cron"],
    }
    assert placed(shop("web", web=(), worker=("data",))) == {"web1": ["web"], "web2": ["web"]}


@pytest.mark.parametrize(
    ("application", "where"),
    [
        (shop("wbe", web=()), "applications.shop.groups"),
        (shop(web=("wbe",)), "applications.shop.programs.web.groups"),
        (shop("web", web=("data",)), "applications.shop.groups"),
    ],
)
def test_an_application_that_would_run_nowhere_is_refused(application: Application, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        placed(application)
    assert caught.value.where == where


def test_the_users_of_a_host_are_those_of_the_programs_that_run_on_it() -> None:
    web = Program(command=("x",), user="www-data", groups=("web",))
    applications = {
        "shop": Application(programs={"web": web, "cron": Program(command=("x",), user="acme")}),
        "mail": Application(groups=("mail",), programs={"smtp": Program(command=("x",), user="mail")}),
    }
    web1, _, db1, _ = fleet.targets("live", grouped(web=Group(hosts=("web*",))))
    assert fleet.users(applications, web1) == ("acme", "www-data")
    assert fleet.users(applications, db1) == ("acme",)


@pytest.mark.parametrize("host", [Host(address="a;reboot"), Host(address="-oProxyCommand=x"), Host(address="a b")])
def test_an_address_that_a_shell_would_take_for_something_else_is_refused(host: Host) -> None:
    with pytest.raises(UsageError, match="cannot be a host"):
        fleet.targets("live", Environment(hosts={"h1": host}))
