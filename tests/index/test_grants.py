"""A principal may do what one of its grants says, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinwheel.errors import UsageError
from pinwheel.index.grants import SCOPES, About, Denied, Grant, Principal, allow, granted, need
from pinwheel.index.routes import Form, Other, Project, Root, Route

CI = Principal("ci", "token", granted(["read", "upload:acme-*", "deploy:acme-*@test-*"]))
SOME = Principal("some", "token", granted(["read:acme-*"]))
ANONYMOUS = Principal("anonymous", "anonymous", (Grant("read"),), hidden=("acme-secret*",))
NOBODY = Principal("", "anonymous", ())


def test_one_grant_must_cover_all_that_is_asked() -> None:
    assert CI.may("read", project="other")
    assert CI.may("upload", project="acme-greet")
    assert not CI.may("upload", project="other")
    assert CI.may("deploy", project="acme-greet", environment="test-1")
    assert not CI.may("deploy", project="acme-greet", environment="prod")
    assert not CI.may("deploy", project="other", environment="test-1")
    assert not CI.may("admin")
    assert CI.may("promote", "upload")


@pytest.mark.parametrize("scope", SCOPES)
def test_admin_counts_as_every_scope_for_its_projects(scope: str) -> None:
    admin = Principal("boss", "token", granted(["admin:acme-*"]))
    assert admin.may(scope, project="acme-x")
    assert not admin.may(scope, project="other")


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("read", Grant("read", ("p-*",), ("e",))),
        ("upload:Acme_*", Grant("upload", ("Acme_*",), ("e",))),
        ("deploy@prod-*", Grant("deploy", ("p-*",), ("prod-*",))),
        ("deploy:acme-*@prod", Grant("deploy", ("acme-*",), ("prod",))),
    ],
)
def test_a_scope_may_say_for_what(text: str, grant: Grant) -> None:
    assert granted([text], ["p-*"], ["e"]) == (grant,)


@given(st.lists(st.builds(Grant, st.sampled_from(SCOPES), *[st.sampled_from([("*",), ("a-*",), ("a", "b-*")])] * 2)))
def test_what_a_grant_prints_is_read_again_as_the_same(grants: list[Grant]) -> None:
    again = granted(",".join(map(str, grants)).split(",")) if grants else ()
    for scope, project, environment in (
        (s, p, e) for s in SCOPES for p in ("a", "b-c", "x") for e in ("a", "b-c", "x")
    ):
        one, other = (Principal("p", "token", tuple(each)) for each in (grants, again))
        asked = {"project": project, "environment": environment}
        assert one.may(scope, **asked) == other.may(scope, **asked)


@pytest.mark.parametrize("text", ["fly", "", "upload:", "upload:[", "deploy@", ":acme", "@prod"])
def test_a_scope_that_means_nothing_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        granted([text])


PAGE = Project("main", "acme-secret")
OURS, PUBLIC = About("acme-secret", private=True), About("acme-secret", private=False)


@pytest.mark.parametrize(
    ("principal", "route", "about", "unnamed"),
    [
        (NOBODY, Root("main"), About(), True),
        (NOBODY, Form(), About(), True),
        (ANONYMOUS, Form(), About(), True),
        (ANONYMOUS, PAGE, OURS, True),
        (ANONYMOUS, PAGE, PUBLIC, True),
        (ANONYMOUS, Other(), About(), True),
        (SOME, Form(), About(), False),
        (SOME, Project("main", "other"), About("other", private=True), False),
        (SOME, Other(), About(), False),
        (Principal("up", "token", granted(["upload"])), PAGE, OURS, False),
    ],
)
def test_what_is_not_granted_is_denied(principal: Principal, route: Route, about: About, unnamed: bool) -> None:
    with pytest.raises(Denied) as caught:
        allow(principal, route, lambda: about)
    assert caught.value.unnamed is unnamed, "who has no credential is asked for one"


@pytest.mark.parametrize(
    ("principal", "route", "about"),
    [
        (ANONYMOUS, Root("main"), About()),
        (ANONYMOUS, Project("main", "acme-open"), About("acme-open", private=True)),
        (SOME, PAGE, OURS),
        (SOME, Project("main", "attrs"), About("attrs", private=False)),
        (CI, PAGE, OURS),
        (CI, Other(), About()),
        (CI, Form(), About()),
    ],
)
def test_what_is_granted_is_allowed(principal: Principal, route: Route, about: About) -> None:
    allow(principal, route, lambda: about)


def test_a_denial_says_what_is_missing() -> None:
    with pytest.raises(Denied, match="scope promote"):
        need(CI, "promote", project="acme")
    with pytest.raises(Denied, match="not for other"):
        need(CI, "upload", project="other")
    with pytest.raises(Denied, match="not for acme-x in the environment prod"):
        need(CI, "deploy", project="acme-x", environment="prod")
