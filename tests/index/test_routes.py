"""What a request is about follows from its method and path alone."""

from __future__ import annotations

import pytest

from pinwheel.index.routes import (
    Authorize,
    ControlPlane,
    File,
    Form,
    Missing,
    Moved,
    NotAllowed,
    Other,
    Package,
    Probe,
    Project,
    Root,
    Route,
    parse,
)

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/-/health", Probe("health")),
        ("/-/ready", Probe("ready")),
        ("/-/authorize", Authorize()),
        ("/-/projects/acme", ControlPlane("projects/acme")),
        ("/simple/", Root("main")),
        ("/simple", Moved("simple/")),
        ("/simple/acme-greet/", Project("main", "acme-greet")),
        ("/simple/Acme_Greet/", Moved("../acme-greet/")),
        ("/simple/Acme_Greet", Moved("acme-greet/")),
        ("/simple/acme", Moved("acme/")),
        ("/simple/acme//", Missing("there is nothing here")),
        ("/simple/acme/x", Missing("there is nothing here")),
        ("/simple/../", Missing("this is no name of a project")),
        ("/simple//acme/", Missing("this is no name of a project")),
        ("/simple/-x/", Missing("this is no name of a project")),
        ("/c/prod/simple/", Root("prod")),
        ("/c/prod/simple", Moved("simple/")),
        ("/c/prod/simple/acme/", Project("prod", "acme")),
        ("/c/prod/simple/Acme/", Moved("../acme/")),
        ("/c/prod/simplex", Missing("there is nothing here")),
        ("/c/../simple/acme/", Missing("there is nothing here")),
        ("/c/main/simple/acme/", Moved("../../../../simple/acme/")),
        ("/c/main/simple/", Moved("../../../simple/")),
        (f"/files/{SHA256}/a-1.0.tar.gz", File(SHA256, "a-1.0.tar.gz")),
        (f"/files/{SHA256}/../../simple/", Missing("there is no such file")),
        (f"/files/{SHA256}/", Missing("there is no such file")),
        ("/files/x/a-1.0.tar.gz", Missing("there is no such file")),
        ("/packages/a-1.0.tar.gz", Package("a-1.0.tar.gz")),
        ("/packages/a/b", Missing("there is no such file")),
        ("/packages/", Other()),
        ("/", Other()),
        ("/acme/json", Other()),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_path_that_is_read_has_one_meaning(method: str, path: str, route: Route) -> None:
    assert parse(method, path) == route


@pytest.mark.parametrize("path", ["/", "/legacy/", "/legacy", "/simple/", "/simple"])
def test_forms_are_posted_to_any_of_these(path: str) -> None:
    assert parse("POST", path) == Form()


@pytest.mark.parametrize("path", ["/simple/acme/", f"/files/{SHA256}/a-1.0.tar.gz", "/packages/x", "/-/health"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_is_read_takes_no_other_method(method: str, path: str) -> None:
    assert parse(method, path) == NotAllowed(("GET", "HEAD"))


def test_metadata_belongs_to_its_file() -> None:
    assert File(SHA256, "a-1.0-py3-none-any.whl.metadata").distribution == "a-1.0-py3-none-any.whl"
    assert File(SHA256, "a-1.0-py3-none-any.whl").distribution == "a-1.0-py3-none-any.whl"
