"""What a request is about follows from its method and path alone."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import is_normalized_name

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


SEGMENTS = st.sampled_from(
    [
        *("simple", "c", "prod", "main", "files", SHA256, "acme", "Acme_X", "a-1.0.tar.gz"),
        *("..", ".", "", "%2e", "\\", "-", "é"),
    ]
)
PATHS = st.lists(SEGMENTS | st.text(max_size=8), max_size=7).map("/".join)


@given(PATHS.map(lambda path: f"/{path}") | SEGMENTS.map(lambda name: f"/files/{SHA256}/{name}"))
@example("/simple/acme/")
@example("/c/prod/simple/acme/")
@example(f"/files/{SHA256}/a-1.0.tar.gz")
def test_a_page_and_a_file_have_one_address_each(path: str) -> None:
    """So that a web server, which resolves addresses in its own way, cannot mean another one."""
    match parse("GET", path):
        case Root(channel="main"):
            assert path == "/simple/"
        case Root(channel=channel):
            assert path == f"/c/{channel}/simple/"
        case Project(channel="main", name=name):
            assert path == f"/simple/{name}/"
            assert is_normalized_name(name)
        case Project(channel=channel, name=name):
            assert path == f"/c/{channel}/simple/{name}/"
            assert is_normalized_name(name)
        case File(sha256=sha256, filename=filename):
            assert path == f"/files/{sha256}/{filename}"
            assert "/" not in filename
            assert filename not in ("", ".", "..")


@given(PATHS.map(lambda path: f"/simple/{path}"))
def test_whoever_is_sent_elsewhere_arrives(path: str) -> None:
    route = parse("GET", path)
    if isinstance(route, Moved):
        assert isinstance(parse("GET", urljoin(path, route.location)), Project | Root)


def test_metadata_belongs_to_its_file() -> None:
    assert File(SHA256, "a-1.0-py3-none-any.whl.metadata").distribution == "a-1.0-py3-none-any.whl"
    assert File(SHA256, "a-1.0-py3-none-any.whl").distribution == "a-1.0-py3-none-any.whl"
