"""Plans are safe whatever the fleet looks like: the promises of `pinwheel.deploy.planning.plan`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pinwheel.config import Rollout
from pinwheel.deploy.host.space import RESERVE_BYTES, UNPACKED
from pinwheel.deploy.planning import lock
from pinwheel.deploy.planning.facts import DIGITS, HostFacts, Installed, Process, Release
from pinwheel.deploy.planning.lock import Package
from pinwheel.deploy.planning.making import Making
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.plan import Plan, plan
from pinwheel.deploy.planning.releases import NothingToGoBackTo, earlier
from pinwheel.deploy.planning.wish import Delivery, Programs, Setup, Wish
from pinwheel.errors import UsageError

NEW, OLD = "1.1.0-bbbbbbbb", "1.0.0-aaaaaaaa"

policies = some.builds(
    Rollout,
    canary=some.integers(0, 5),
    batch=some.one_of(
        some.integers(1, 100).map(lambda share: f"{share}%"), some.integers(1, 50).map(lambda number: str(number))
    ),
    max_unavailable=some.one_of(some.integers(1, 20), some.integers(1, 100).map(lambda share: f"{share}%")),
    failure_budget=some.integers(0, 3),
)


def conf(host: str) -> str:
    return f"conf of {host}"


def release(name: str, verdict: str = "good", activated_at: str = "", *, of: tuple[str, ...] = ()) -> Release:
    """A release; others may share the wheels of the distributions `of`."""
    digits = frozenset(sha256(each)[:DIGITS] for each in of)
    return Release(name, name.partition("-")[0], "", verdict, activated_at, wheels=digits)


def host(name: str, current: str | None = None, *, has: tuple[Release, ...] = (), **more: object) -> HostFacts:
    """A ready host that runs `current` as it should be."""
    installed: dict[str, object] = {
        "current": current,
        "releases": has or ((release(current),) if current else ()),
        "processes": (Process("shop-web", 7, "RUNNING"),) if current else (),
        "conf_sha256": hashlib.sha256(conf(name).encode()).hexdigest(),
    }
    ready, free = bool(more.pop("ready", True)), int(str(more.pop("free_bytes", 10**10)))
    uv, python = str(more.pop("uv", "0.13.8")), str(more.pop("python", "3.11.2"))
    applications = {"shop": Installed(**{**installed, **more})}  # type: ignore[arg-type]
    libc = ("glibc", "2.36")
    return HostFacts(name, python, "x86_64", libc, free, ready, uv=uv or None, pip=True, applications=applications)


def package(name: str, *, size: int = 1000, tag: str = "py3-none-any", marker: str = "", digest: str = "") -> Package:
    """One version of a distribution, as a lock has it."""
    wheel = {"name": f"{name}-1-{tag}.whl", "size": size, "hashes": {"sha256": sha256(digest or name)}}
    (made,) = lock.packages([{"name": name, "version": "1", "marker": marker, "wheels": [wheel]}])
    return made


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wish(hosts: Mapping[str, object], *packages: Package, back: bool = False) -> Wish:
    delivery = Delivery({name: Setup(conf(name), ()) for name in hosts}, packages or (package("shop"),))
    return Wish("shop", "shop", "1.1.0", NEW, None if back else delivery, "b" * 64)


@some.composite
def fleets(draw: some.DrawFn) -> dict[str, HostFacts | Outcome]:
    fleet: dict[str, HostFacts | Outcome] = {}
    for number in range(draw(some.integers(0, 40))):
        name = f"h{number}"
        kind = draw(some.sampled_from(["old", "new", "bare", "away", "unready", "prepared", "drift", "down", "doubt"]))
        kinds: dict[str, HostFacts | Outcome] = {
            "old": host(name, OLD),
            "new": host(name, NEW),
            "bare": host(name),
            "away": Outcome(name, Ending.UNREACHABLE, "nobody listens"),
            "unready": host(name, ready=False),
            "prepared": host(name, OLD, has=(release(OLD), release(NEW, "prepared"))),
            "drift": host(name, NEW, drift=True),
            "down": host(name, NEW, processes=(Process("shop-web", 0, "FATAL"),)),
            "doubt": host(name, NEW, in_doubt=True),
        }
        fleet[name] = kinds[kind]
    return fleet


@given(fleet=fleets(), policy=policies)
def test_a_plan_names_every_host_once_and_equal_input_gives_an_equal_plan(
    fleet: dict[str, HostFacts | Outcome], policy: Rollout
) -> None:
    made = plan(wish(fleet), fleet, policy)
    assert sorted([each.host for each in made.hosts] + [each.host for each in made.blocked]) == sorted(fleet)
    assert made == plan(wish(fleet), fleet, policy)
    in_waves = {name for wave in made.waves for name in wave}
    assert in_waves <= {each.host for each in made.hosts if each.activate}


@given(fleet=fleets(), policy=policies)
def test_a_host_is_touched_only_when_it_is_not_as_wished(
    fleet: dict[str, HostFacts | Outcome], policy: Rollout
) -> None:
    made = plan(wish(fleet), fleet, policy)
    for each in made.hosts:
        known = fleet[each.host]
        assert isinstance(known, HostFacts)
        here = known.installed("shop")
        as_wished = here.current == NEW and here.running and not here.drift and not here.in_doubt
        assert (each.activate is None) == as_wished
        assert each.builds == (here.release(NEW) is None)
        if each.activate:
            assert each.activate.expected_current == here.current
    assert all(not isinstance(fleet[each.host], HostFacts) or not fleet[each.host].ready for each in made.blocked)  # type: ignore[union-attr]


def only(made: Plan) -> tuple[str, str]:
    """What the plan says about its one host: its actions and why."""
    (each,) = made.hosts
    return " ".join(word for word, step in (("prepare", each.builds), ("activate", each.activate)) if step), each.why


@pytest.mark.parametrize(
    ("facts", "does", "because"),
    [
        (host("h1"), "prepare activate", "nothing runs yet"),
        (host("h1", OLD), "prepare activate", f"runs {OLD}"),
        (host("h1", OLD, has=(release(OLD), release(NEW, "prepared"))), "activate", f"runs {OLD}"),
        (host("h1", OLD, has=(release(OLD), release(NEW, "bad"))), "activate", "failed its gate here before"),
        (host("h1", NEW), "", "already as wished"),
        (host("h1", NEW, conf_sha256="0"), "activate", "its conf changes"),
        (host("h1", NEW, drift=True), "activate", "its conf was changed on the host"),
        (host("h1", NEW, in_doubt=True), "activate", "an activation was cut off"),
        (host("h1", NEW, processes=()), "activate", "no process runs"),
        (host("h1", NEW, processes=(Process("shop-web", 0, "FATAL"),)), "activate", "shop-web is FATAL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_plan_says_what_it_does_and_why(facts: HostFacts, does: str, because: str) -> None:
    actions, why = only(plan(wish({"h1": facts}), {"h1": facts}, Rollout()))
    assert actions == does
    assert because in why


def test_a_host_without_space_for_the_release_is_blocked_with_both_numbers() -> None:
    """Promise D2: before anything is fetched. The host itself refuses by the same words."""
    needed = 1000 * UNPACKED + RESERVE_BYTES
    has = (release(OLD), release(NEW, "prepared"))
    fleet: dict[str, HostFacts | Outcome] = {
        "h1": host("h1", OLD, free_bytes=needed - 1),
        "h2": host("h2", OLD, free_bytes=needed),
        "h3": host("h3", OLD, has=has, free_bytes=0),
    }
    made = plan(wish(fleet), fleet, Rollout())
    assert [each.host for each in made.hosts] == ["h2", "h3"], "what is there already needs no space"
    (blocked,) = made.blocked
    assert blocked.reason == "17 MiB are needed and 16 MiB are free"
    assert blocked.remedy


def test_a_host_with_somebody_elses_broken_file_is_blocked_where_something_would_stop() -> None:
    """Promise D7."""
    broken = "somebody else's file keeps supervisor from reloading (theirs.conf)"
    fleet = {name: replace(host(name, runs), foreign=broken) for name, runs in (("h1", OLD), ("h2", NEW))}
    made = plan(wish(fleet), fleet, Rollout())
    assert [(each.host, each.reason, each.code) for each in made.blocked] == [("h1", broken, "foreign-conf")]
    assert [each.host for each in made.hosts] == ["h2"], "it goes on as it is"


def making(facts: HostFacts, *packages: Package) -> Making:
    (each,) = plan(wish({facts.host: facts}, *packages), {facts.host: facts}, Rollout()).hosts
    assert each.prepare.base == each.making.base
    assert [wheel["sha256"] for wheel in each.prepare.wheels] == [wheel.sha256 for wheel in each.making.wheels]
    return each.making


LOCK = (package("shop", digest="shop 1.1"), package("flask", size=100_000), package("numpy", size=10_000_000))


def test_a_release_begins_as_the_one_that_has_most_of_its_bytes() -> None:
    many = release("0.9.0-cccccccc", of=("flask", "click"))
    large = release("0.8.0-dddddddd", of=("numpy",))
    made = making(host("h1", OLD, has=(release(OLD), many, large)), *LOCK)
    assert (made.how, made.base, made.bytes, made.shared) == ("clone", large.release, 101_000, 1)
    assert made.why == f"1 of 3 distributions are in {large.release}"


def test_of_several_that_are_as_good_the_newest_is_taken() -> None:
    has = tuple(release(name, of=("flask", "numpy")) for name in ("0.9.0-c", OLD, "0.8.0-d"))
    made = making(host("h1", "0.9.0-c", has=has), *LOCK)
    assert (made.base, made.bytes) == (OLD, 1000)


def test_a_lock_of_other_markers_only_moves_nothing() -> None:
    made = making(host("h1", OLD, has=(release(OLD, of=("shop 1.1", "flask", "numpy")),)), *LOCK)
    assert (made.how, made.bytes, made.shared) == ("clone", 0, 3)


@pytest.mark.parametrize(
    ("uv", "how", "why"), [("0.13.8", "uv", "has any of it"), ("", "pip", "and no uv runs here")], ids=["uv", "pip"]
)
def test_a_release_that_shares_nothing_is_made_anew(uv: str, how: str, why: str) -> None:
    """Also beside releases of an older pinwheel, which did not write down what they were made of."""
    made = making(host("h1", OLD, uv=uv), *LOCK)
    assert (made.how, made.base, made.bytes, made.shared) == (how, "", 10_101_000, 0)
    assert made.why.endswith(why)


def test_what_is_there_already_is_not_made_and_sends_no_wheels() -> None:
    made = making(host("h1", OLD, has=(release(OLD), release(NEW, "prepared"))), *LOCK)
    assert (made.how, made.wheels, made.bytes) == ("there", (), 0)


def test_a_host_whose_python_the_lock_does_not_serve_is_blocked_and_the_others_go_on() -> None:
    """Promise D9: one line, what and where, and what to do; nothing is touched."""
    fleet: dict[str, HostFacts | Outcome] = {"h1": host("h1"), "h2": host("h2", python="3.13.1")}
    made = plan(
        wish(fleet, package("shop"), package("fast", tag="cp311-cp311-manylinux_2_17_x86_64")), fleet, Rollout()
    )
    assert [each.host for each in made.hosts] == ["h1"]
    (blocked,) = made.blocked
    assert blocked.reason == "the lock has no wheel of fast 1 for Python 3.13, which is this host's"
    assert "packaging.pythons" in blocked.remedy


def test_the_plan_shows_how_the_conf_changes() -> None:
    facts = host("h1", OLD, conf="conf of h1\nold line\n")
    (each,) = plan(wish({"h1": facts}), {"h1": facts}, Rollout()).hosts
    assert "-old line" in each.conf_diff


@pytest.mark.parametrize(
    ("facts", "release_back", "former"),
    [
        (host("h1"), "", False),
        (host("h1", OLD), OLD, False),
        (host("h1", NEW, conf="old conf", conf_sha256="0"), NEW, True),
        (host("h1", NEW, conf="old conf", conf_sha256="0", colour="blue"), NEW, True),
        (host("h1", NEW, conf=conf("h1"), processes=()), "", False),
    ],
)
def test_the_plan_knows_the_way_back(facts: HostFacts, release_back: str, former: bool) -> None:
    (each,) = plan(wish({"h1": facts}), {"h1": facts}, Rollout()).hosts
    assert each.activate
    assert (each.back.release if each.back else "") == release_back
    if each.back:
        assert (each.back.conf, each.back.expected_current, each.back.former) == (None, NEW, former)


def test_a_rollback_of_a_host_that_never_had_the_release_is_blocked() -> None:
    facts = {"h1": host("h1", OLD), "h2": host("h2", OLD, has=(release(OLD), release(NEW)))}
    made = plan(wish(facts, back=True), facts, Rollout())
    assert [each.host for each in made.blocked] == ["h1"]
    assert "deploy.rollout shop==1.1.0" in made.blocked[0].remedy
    (back,) = made.hosts
    assert not back.builds
    assert back.activate is not None
    assert back.activate.conf is None


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        (Rollout(batch="0"), "batch"),
        (Rollout(batch="many"), "batch"),
        (Rollout(batch="101%"), "batch"),
        (Rollout(max_unavailable=0), "max_unavailable"),
        (Rollout(max_unavailable="0%"), "max_unavailable"),
        (Rollout(max_unavailable="some"), "max_unavailable"),
        (Rollout(canary=-1), "canary"),
        (Rollout(failure_budget=-1), "failure_budget"),
    ],
)
def test_a_policy_that_cannot_be_is_an_error_also_when_there_is_nothing_to_do(policy: Rollout, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(wish({}), {}, policy)
    assert caught.value.where == f"rollout.{key}"


def test_going_back_takes_the_newest_good_release_that_is_older() -> None:
    has = (release("1.0.0-a"), release("1.1.0-b"), release("1.2.0-c", "bad"), release("1.3.0-d"))
    assert earlier("shop", [host("h1", "1.3.0-d", has=has)]).release == "1.1.0-b"


def test_going_back_after_half_a_rollout_leaves_the_other_half_alone() -> None:
    reached = host("h1", "1.2.0-c", has=(release("1.0.0-a"), release("1.1.0-b"), release("1.2.0-c")))
    waiting = host("h2", "1.1.0-b", has=(release("1.0.0-a"), release("1.1.0-b"), release("1.2.0-c", "prepared")))
    assert earlier("shop", [reached, waiting]).release == "1.1.0-b"


def test_of_two_locks_of_one_version_the_one_activated_before_counts_as_older() -> None:
    has = (release("1.0.0-a", activated_at="2026-01-01"), release("1.0.0-b", activated_at="2026-01-02"))
    assert earlier("shop", [host("h1", "1.0.0-b", has=has)]).release == "1.0.0-a"


def test_going_back_to_a_named_version_or_release() -> None:
    has = (release("1.0.0-a"), release("1.1.0-b"), release("1.2.0-c"))
    fleet = [host("h1", "1.1.0-b", has=has)]
    assert earlier("shop", fleet, "1.0.0").release == "1.0.0-a"
    assert earlier("shop", fleet, "1.0").release == "1.0.0-a"
    assert earlier("shop", fleet, "1.2.0-c").release == "1.2.0-c"


@pytest.mark.parametrize(
    ("fleet", "to"),
    [
        ([], ""),
        ([host("h1")], ""),
        ([host("h1", OLD)], ""),
        ([host("h1", NEW, has=(release(OLD, "bad"), release(NEW)))], ""),
        ([host("h1", NEW, has=(release(OLD, "prepared"), release(NEW)))], "1.0.0"),
    ],
)
def test_without_a_good_older_release_there_is_nothing_to_go_back_to(fleet: list[HostFacts], to: str) -> None:
    with pytest.raises(NothingToGoBackTo) as caught:
        earlier("shop", fleet, to)
    assert "deploy.rollout" in caught.value.remedy


def test_a_host_that_a_newer_pinwheel_has_touched_is_left_out_and_told() -> None:
    newer = host("h1", OLD, unsupported="this host was last touched by a newer pinwheel")
    (blocked,) = plan(wish({"h1": newer}), {"h1": newer}, Rollout()).blocked
    assert (blocked.ending, blocked.code) == (Ending.FAILED, "unsupported")
    assert "newer pinwheel" in blocked.reason
    assert "newer pinwheel" in blocked.remedy


def test_a_release_in_colours_is_compared_in_the_one_that_runs() -> None:
    setup = Setup("worker\n", (), colours={"blue": Programs("blue\n", ()), "green": Programs("green\n", ())})
    made = Wish("shop", "shop", "1.1.0", NEW, Delivery({"h1": setup}))
    for colour, conf_there, why in (
        ("green", "worker\ngreen\n", "already as wished"),
        ("blue", "worker\ngreen\n", "its conf changes"),
        ("", "worker\n", "its conf changes"),
    ):
        sha256 = hashlib.sha256(conf_there.encode()).hexdigest()
        here = host("h1", NEW, colour=colour, conf=conf_there, conf_sha256=sha256)
        (planned,) = plan(made, {"h1": here}, Rollout()).hosts
        assert planned.why == why
        assert planned.activate is None or planned.activate.colours == setup.colours
