"""Two libraries that only read the Simple API find in our pages what is there, in HTML and in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.index.foreign import Home, Tools
from tests.index.making import sdist, wheel
from tests.index.running import Server, authorization

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow

PYPI_SIMPLE = """
import json, os, sys, warnings
warnings.simplefilter("error")  # also what warns of a newer version of the API
import pypi_simple
url, project, accept = sys.argv[1:]
login = ("__token__", os.environ["TOKEN"])
with pypi_simple.PyPISimple(url, auth=login, accept=getattr(pypi_simple, accept)) as client:
    page = client.get_project_page(project)
    found = {}
    for each in page.packages:
        client.download_package(each, f"./{each.filename}", verify=True)
        if each.has_metadata:
            assert f"Name: {project}" in client.get_package_metadata(each, verify=True)
        found[each.filename] = {
            "sha256": each.digests["sha256"],
            "version": each.version,
            "requires_python": each.requires_python,
            "has_metadata": bool(each.has_metadata),
            "yanked": each.yanked_reason if each.is_yanked else None,
            "size": each.size,
            "dated": each.upload_time is not None,
        }
    print(json.dumps({
        "listed": project in client.get_index_page().projects,
        "streamed": project in list(client.stream_project_names()),
        "api": page.repository_version,
        "versions": page.versions,
        "status": [page.status.value, page.status_reason],
        "files": found,
    }))
"""

MOUSEBENDER = """
import json, sys
from mousebender import simple
kind, project = sys.argv[1:]
root, page = json.load(open("pages.json"))
index = simple.parse_project_index(root, kind)
details = simple.parse_project_details(page, kind, project)
print(json.dumps([index, details]))
"""


def published(server: Server, token: str, name: str) -> dict[str, Any]:
    """A project of two files, and what a reader has to find of it."""
    made = [wheel(name, "1.0.0", requires_python=">=3.8"), sdist(name, "0.9")]
    for each in made:
        assert server.upload(each, token).status == 200
    return {each.filename: each for each in made}


@pytest.mark.parametrize("kind", ["HTML", "JSON"])
def test_pypi_simple_reads_all_there_is(tools: Tools, home: Home, server: Server, token: str, kind: str) -> None:
    made = published(server, token, f"read-as-{kind.lower()}")
    name = next(iter(made.values())).project
    client = IndexClient(server.url, server.token(name, "admin"))
    client.yank(name, "0.9.0", "too <old>")
    client.set_status(name, "deprecated", 'use "another" & newer one')
    python = tools.bin("pypi-simple", "requests") / "python"
    argv = ("-c", PYPI_SIMPLE, f"{server.url}simple/", name, f"ACCEPT_{kind}_ONLY")
    found = json.loads(home.done(python, *argv, env={"TOKEN": token}))
    as_json = kind == "JSON"
    assert (found["listed"], found["streamed"], found["api"]) == (True, True, "1.4")
    assert found["status"] == ["deprecated", 'use "another" & newer one']
    assert found["versions"] == (["0.9", "1.0.0"] if as_json else None)
    assert found["files"] == {
        filename: {
            "sha256": each.sha256,
            "version": each.version,
            "requires_python": ">=3.8" if filename.endswith(".whl") else None,
            "has_metadata": True,
            "yanked": None if filename.endswith(".whl") else "too <old>",
            "size": len(each.content) if as_json else None,
            "dated": as_json,
        }
        for filename, each in made.items()
    }


@pytest.mark.parametrize(
    "kind", ["text/html", "application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.v1+json"]
)
def test_mousebender_parses_what_it_asks_for(tools: Tools, home: Home, server: Server, token: str, kind: str) -> None:
    name = f"parsed-{kind[-4:]}-{len(kind)}"
    made = published(server, token, name)
    said = []
    for path in ("/simple/", f"/simple/{name}/"):
        reply = server.ask("GET", path, headers={"Accept": kind} | authorization(token))
        assert reply.headers["content-type"].partition(";")[0] == kind
        said.append(reply.text)
    python = tools.bin("mousebender") / "python"
    (home.work / "pages.json").write_text(json.dumps(said))

    index, details = json.loads(home.done(python, "-c", MOUSEBENDER, kind, name))
    assert {"name": name} in index["projects"]
    assert {each["filename"]: each["hashes"]["sha256"] for each in details["files"]} == {
        filename: each.sha256 for filename, each in made.items()
    }
    assert all(each["core-metadata"] for each in details["files"])
    assert details["meta"]["api-version"] == ("1.4" if kind.endswith("json") else "1.0")
