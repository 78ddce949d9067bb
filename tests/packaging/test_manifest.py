"""What pyproject.toml says without a backend."""

from __future__ import annotations

import pytest
from packaging.version import Version

from pinwheel.errors import PinwheelError
from pinwheel.packaging import manifest


def test_names_versions_and_needs_are_read() -> None:
    found = manifest.parse(
        """
        [build-system]
        requires = ["hatchling>=1.27", "Acme_Plugin"]
        build-backend = "hatchling.build"
        [project]
        name = "Acme.Shop"
        version = "1.2.0"
        dependencies = ["acme-greet>=1 ; python_version > '3'", "flask[async]"]
        """,
        "x",
    )
    assert (found.name, found.version) == ("acme-shop", "1.2.0")
    assert found.needs == {"acme-greet", "flask", "hatchling", "acme-plugin"}


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ('[project]\nname = "a"\ndynamic = ["version"]', "a", None),
        ('[tool.poetry]\nname = "a"\nversion = "1"', "a", "1"),
        ("", "", None),
    ],
)
def test_what_only_the_backend_knows_stays_open(text: str, name: str, version: str | None) -> None:
    found = manifest.parse(text, "x")
    assert (found.name, found.version) == (name, version)


def test_a_file_that_is_not_toml_is_an_error_with_its_place() -> None:
    with pytest.raises(PinwheelError) as caught:
        manifest.parse("[project", "pyproject.toml in acme at v1")
    assert caught.value.where == "pyproject.toml in acme at v1"


@pytest.mark.parametrize("text", ["[build-system]\nrequires = 3", "[project]\ndependencies = [1]"])
def test_requirements_that_are_no_list_are_an_error_that_names_the_key(text: str) -> None:
    with pytest.raises(PinwheelError, match=r"(requires|dependencies) in pyproject.toml is not a list"):
        manifest.parse(text, "x")


@pytest.mark.parametrize(
    "table",
    [
        '[tool.setuptools_scm]\nversion_file = "src/a/_version.py"',
        '[tool.hatch.build.hooks.vcs]\nversion-file = "src/a/_version.py"',
        '[tool.pdm.version]\nwrite_to = "a/_version.py"',
    ],
)
def test_a_version_file_is_declared_by_its_tool(table: str) -> None:
    assert "a/_version.py" in manifest.parse(table, "x").generated


def test_version_tools_are_told_by_their_documented_variables() -> None:
    told = manifest.version_variables("acme-shop", Version("1.2.0"))
    assert told["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_ACME_SHOP"] == "1.2.0"
    assert told["SETUPTOOLS_SCM_PRETEND_VERSION"] == told["PDM_BUILD_SCM_VERSION"] == "1.2.0"


def test_a_development_version_lies_between_the_last_release_and_the_next() -> None:
    made = manifest.development_version(Version("1.2.0"), 7)
    assert str(made) == "1.2.1.dev7"
    assert Version("1.2.0") < made < Version("1.2.1")
    assert str(manifest.development_version(None, 3)) == "0.0.dev3"


def test_requirements_by_address_are_found() -> None:
    found = manifest.direct_urls(["hatchling", "evil @ https://host.example/evil.whl", "./local"])
    assert found == ("evil @ https://host.example/evil.whl", "./local")
