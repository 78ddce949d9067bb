"""The CI templates: valid by the systems' own schemas, and their steps work, in order, against a real index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.packaging.forge import git, repository, tiny_files
from tests.packaging.running import RunningIndex

from pinwheel import ci_template, config
from pinwheel.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
CONFIGURED = """
[index]
url = "https://pypi.acme.example"
[packaging]
pythons = ["3.12", "3.9", "3.11"]
[projects.acme-shop]
repository = "."
subdirectory = "apps/shop"
"""


def loaded(text: str) -> config.Loaded:
    return config.Loaded(config.parse(text, "pinwheel.toml"), None)


def parsed(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("system", SCHEMAS)
def test_what_is_rendered_is_valid_by_the_systems_own_schema(system: str, tmp_path: Path) -> None:
    files = [ROOT / "ci" / ci_template.SYSTEMS[system][0]]
    for name in ("", "acme-shop"):
        folder = tmp_path / f"repository-{name}"
        folder.mkdir()
        text = ci_template.render(system, loaded(CONFIGURED), name)
        files.append(ci_template.write(system, text, str(folder), force=False)[0])
    done = checked(SCHEMAS[system], *files)
    assert done.returncode == 0, done.stdout


def checked(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    words = ("-P", "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files))
    return subprocess.run((sys.executable, *words), capture_output=True, text=True, check=False)


def test_the_schema_finds_faults(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text((ROOT / "ci/github-actions.yml").read_text().replace("runs-on", "runs-at"))
    assert checked(SCHEMAS["github"], broken).returncode == 1


def test_the_configuration_fills_in_pythons_index_and_folder() -> None:
    github = parsed(ci_template.render("github", loaded(CONFIGURED), "acme-shop"))
    gitlab = parsed(ci_template.render("gitlab", loaded(CONFIGURED), "acme-shop"))
    assert github["jobs"]["check"]["strategy"]["matrix"]["python"] == ["3.9", "3.11", "3.12"]
    assert gitlab["check"]["parallel"]["matrix"] == [{"PYTHON": ["3.9", "3.11", "3.12"]}]
    assert github["jobs"]["release"]["steps"][2]["with"]["python-version"] == "3.9\n3.11\n3.12"
    assert gitlab["release"]["image"] == "python:3.12"
    for variables in (github["env"], gitlab["variables"]):
        assert variables["PINWHEEL_INDEX_URL"] == "https://pypi.acme.example/"
        assert variables["SUBDIRECTORY"] == "apps/shop"
    # True is what YAML makes of "on"
    assert (github.get("on") or github[True])["push"]["tags"] == ["acme-shop-*"]
    assert gitlab["release"]["rules"] == [{"if": r"$CI_COMMIT_TAG =~ /^acme\-shop-v?[0-9]/"}]


@pytest.mark.parametrize("system", SCHEMAS)
def test_a_template_is_what_is_rendered_of_its_own_values(system: str) -> None:
    """So that a marker without a value, or a value without a marker, is found."""
    shipped = (ROOT / "ci" / ci_template.SYSTEMS[system][0]).read_text()
    usual = '[packaging]\npython = "3.12"\n'
    assert parsed(ci_template.render(system, loaded(usual))) == parsed(shipped)
    assert "3.12" not in ci_template.render(system, loaded(usual.replace("3.12", "3.13")))


def test_the_pythons_of_a_project_of_its_own_come_before_those_of_all() -> None:
    of_project = CONFIGURED + 'pythons = ["3.13"]\n'
    assert parsed(ci_template.render("gitlab", loaded(of_project), "acme-shop"))["release"]["image"] == "python:3.13"
    assert parsed(ci_template.render("gitlab", loaded(of_project)))["release"]["image"] == "python:3.12"


def test_a_file_that_says_something_else_is_written_over_only_by_force(tmp_path: Path) -> None:
    text = ci_template.render("github", loaded(""))
    file, written = ci_template.write("github", text, str(tmp_path), force=False)
    assert written
    assert ci_template.write("github", text, str(tmp_path), force=False) == (file, False)
    file.write_text("mine")
    with pytest.raises(UsageError):
        ci_template.write("github", text, str(tmp_path), force=False)
    assert file.read_text() == "mine"
    assert ci_template.write("github", text, str(tmp_path), force=True) == (file, True)


def test_what_cannot_be_rendered_is_said() -> None:
    with pytest.raises(UsageError, match="no template"):
        ci_template.render("jenkins", loaded(""))
    with pytest.raises(UsageError, match="no version of Python"):
        ci_template.render("github", loaded('[packaging]\npythons = ["abc"]\n'))
    with pytest.raises(UsageError, match="no project"):
        ci_template.render("github", loaded(CONFIGURED), "acme-other")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a repository with an annotated tag, as a CI system makes one."""
    origin = repository(tmp_path / "origin")
    origin.commit(tiny_files("acme-ci"), "v1.0.0", annotated=True)
    git(tmp_path, "clone", "--quiet", "--no-local", origin.address, "clone")
    git(tmp_path / "clone", "checkout", "--quiet", "--detach", "v1.0.0")
    return tmp_path / "clone"


def steps(system: str, job: str) -> list[str]:
    """The shell scripts of a job in order. GitLab runs all lines in one shell, GitHub each step in one of its own."""
    document = parsed(ci_template.render(system, loaded("")))
    if system == "gitlab":
        return ["\n".join(document[job]["script"])]
    told = [step["run"] for step in document["jobs"][job]["steps"] if "run" in step]
    assert not any("${{" in script for script in told), "an expression in a script is an injection"
    return told


def variables(system: str, tmp_path: Path, commit: str) -> dict[str, str]:
    """What the system itself sets, as far as the scripts and pinwheel look at it."""
    document = parsed(ci_template.render(system, loaded("")))
    python = "{}.{}".format(*sys.version_info)
    if system == "gitlab":
        return {
            **document["variables"],
            "PYTHON": python,
            "GITLAB_CI": "true",
            "CI_COMMIT_TAG": "v1.0.0",
            "CI_COMMIT_SHA": commit,
        }
    (tmp_path / "temp").mkdir(exist_ok=True)
    runner = {"GITHUB_ACTIONS": "true", "GITHUB_REF_NAME": "v1.0.0", "RUNNER_TEMP": str(tmp_path / "temp")}
    return {**document["env"], **runner, "PYTHON": python, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}


def run(system: str, job: str, commit: str, index: RunningIndex, tmp_path: Path, clone: Path) -> str:
    """Run the job's scripts at the commit, which is checked out, and return all that they said."""
    environ = index.environ(tmp_path / "home") | variables(system, tmp_path, commit)
    environ |= {
        "PINWHEEL_INDEX_URL": index.url,
        "PINWHEEL_READ_TOKEN": index.token,
        # python and pinwheel are those of this environment, where `pip install pinwheel-kit` finds it done
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environ.pop("PIP_FIND_LINKS", None)
    said = ""
    for script in steps(system, job):
        words = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
        done = subprocess.run(words, cwd=clone, env=environ, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
        assert done.returncode == 0, f"{script}\n{said}"
    assert index.token not in said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("system", SCHEMAS)
def test_the_steps_check_and_release_a_tagged_repository(
    system: str, index: RunningIndex, tmp_path: Path, clone: Path
) -> None:
    # the runner of a job has one Python of those that the project is for
    (clone / "pinwheel.toml").write_text('[packaging]\npythons = ["3.99", "{}.{}"]\n'.format(*sys.version_info))
    git(clone, "add", "pinwheel.toml")
    git(clone, "commit", "--quiet", "-m", "what a merge would be")
    said = run(system, "check", git(clone, "rev-parse", "HEAD"), index, tmp_path, clone)
    git(clone, "checkout", "--quiet", "--detach", "v1.0.0")
    said += run(system, "release", git(clone, "rev-parse", "HEAD"), index, tmp_path, clone)
    files = [each["filename"] for each in index.document(tmp_path / "home", "index.list", "--name", "acme-ci")["files"]]
    assert sorted(files) == ["acme_ci-1.0.0-py3-none-any.whl", "acme_ci-1.0.0.tar.gz"]
    assert git(clone, "status", "--porcelain") == "", "the working tree is as the commit has it"
    if system == "github":
        assert "::group::build" in said
        assert "::endgroup::" in said
        summary = (tmp_path / "summary.md").read_text()
        assert "| acme-ci | 1.0.0 |" in summary.replace("\\", "")
    else:
        assert "section_start:" in said
        assert "section_end:" in said
