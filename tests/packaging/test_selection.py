"""What the flags of a command mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinwheel import config
from pinwheel.errors import UsageError
from pinwheel.packaging import manifest
from pinwheel.packaging.inspection.findings import Allowance
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.releasing.plan import judge
from pinwheel.packaging.releasing.selection import allowances, select
from pinwheel.packaging.statement import Provenance
from pinwheel.packaging.work import Job, Listed

LOADED = config.Loaded(
    config.parse(
        '[projects.Acme_Greet]\nrepository = "/srv/greet.git"\ngenerated = ["a.py"]\n'
        '[projects.acme-shop]\nrepository = "mono"\nsubdirectory = "shop/"\n',
        "pinwheel.toml",
    ),
    Path("/etc/acme/pinwheel.toml"),
)


def test_any_repository_may_be_named_and_a_table_of_it_counts() -> None:
    (stranger,) = select(LOADED, None, "ssh://git@host.example/a.git", "v1", "sub/")
    assert (stranger.name, stranger.subdirectory, stranger.declared) == ("", "sub", False)
    (known,) = select(LOADED, None, "/srv/greet.git", None, "")
    assert (known.name, known.generated, known.declared) == ("acme-greet", ("a.py",), True)


@pytest.mark.parametrize("subdirectory", ["shop", "shop/", "/shop", "./shop", "other/../shop"])
def test_slashes_around_a_folder_make_no_difference(subdirectory: str) -> None:
    (known,) = select(LOADED, None, "/etc/acme/mono", None, subdirectory)
    assert (known.name, known.subdirectory) == ("acme-shop", "shop")


def test_a_project_that_is_named_twice_is_selected_once() -> None:
    assert [each.name for each in select(LOADED, ["acme-shop", "Acme.Shop"], None, None, "")] == ["acme-shop"]


def test_paths_in_the_file_are_relative_to_it() -> None:
    everything = {each.name: each for each in select(LOADED, None, None, None, "", everything=True)}
    assert everything.keys() == {"acme-greet", "acme-shop"}
    assert everything["acme-shop"].repository == "/etc/acme/mono"
    assert select(LOADED, ["acme.greet"], None, "v1", "")[0].ref == "v1"


def test_a_remedy_names_only_flags_that_the_command_has() -> None:
    with pytest.raises(UsageError) as building:
        select(LOADED, None, None, None, "")
    with pytest.raises(UsageError) as releasing:
        select(LOADED, None, None, None, "", everything=False)
    assert "--all" not in building.value.remedy
    assert "--all" in releasing.value.remedy


@pytest.mark.parametrize(
    ("names", "repo", "ref", "subdirectory", "everything", "said"),
    [
        ([], None, None, "", False, "nothing is selected"),
        (["acme-greet"], "x", None, "", False, "neither"),
        (["acme-greet"], None, None, "sub", False, "--subdirectory"),
        ([], None, "v1", "", True, "--ref"),
        (["acme-gret"], None, None, "", False, "acme-gret"),
        ([], "x", "", "", False, "--ref is empty"),
        ([], "", None, "", False, "--repo is empty"),
        ([""], None, None, "", False, "--name is empty"),
        ([], "x", "-x", "", False, "is no ref"),
        ([], "x", None, "a/../../x", False, "outside"),
    ],
)
def test_flags_that_contradict_each_other_are_wrong_usage(
    names: list[str], repo: str | None, ref: str | None, subdirectory: str, everything: bool, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        select(LOADED, names, repo, ref, subdirectory, everything=everything)


def test_a_projects_pythons_count_before_those_of_all() -> None:
    text = (
        '[packaging]\npythons = ["3.11", "3.12"]\n[projects.acme-greet]\nrepository = "/srv/greet.git"\n'
        '[projects.acme-shop]\nrepository = "/srv/shop.git"\npythons = ["3.13"]\nnetwork = true\n'
    )
    loaded = config.Loaded(config.parse(text, "pinwheel.toml"), Path("/etc/acme/pinwheel.toml"))
    chosen = select(loaded, None, None, None, "", everything=True)
    assert [(each.pythons, each.network) for each in chosen] == [(("3.11", "3.12"), False), (("3.13",), True)]
    (stranger,) = select(loaded, None, "/srv/other.git", None, "")
    assert (stranger.pythons, stranger.network) == (("3.11", "3.12"), False)


def configured(rule: str) -> config.Loaded:
    allowed = f'[[projects.Acme_Greet.allow]]\nrule = "{rule}"\nreason = "it is so"\nfile = "tests/*"\n'
    text = f'[projects.Acme_Greet]\nrepository = "/srv/greet.git"\n{allowed}'
    return config.Loaded(config.parse(text, "pinwheel.toml"), Path("/etc/acme/pinwheel.toml"))


def test_what_a_project_allows_itself_goes_along() -> None:
    (wanted,) = select(configured("secret"), ["acme-greet"], None, None, "")
    assert wanted.allowed == (Allowance("secret", "it is so", "tests/*"),)
    assert allowances(configured("secret"), "acme-greet") == wanted.allowed
    assert allowances(configured("secret"), "acme-shop") == ()


def test_a_rule_that_there_is_not_cannot_be_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        select(configured("secrets"), ["acme-greet"], None, None, "")
    assert "secrets" in caught.value.problem
    assert caught.value.remedy == "did you mean secret?"


def test_the_pythons_of_the_file_get_into_the_plan() -> None:
    text = '[packaging]\npythons = ["3.11", "3.12"]\n[projects.acme-greet]\nrepository = "/srv/greet.git"\n'
    own = 'pythons = ["3.11"]\n'
    resolved = Resolved("tag", "refs/tags/v1.0", "a" * 40, "v1.0")
    about = Provenance(repository="/srv/greet.git", ref="v1.0", commit="a" * 40, tag="v1.0")
    files = ("acme_greet-1.0.tar.gz", "acme_greet-1.0-cp311-cp311-linux_x86_64.whl")
    there = {filename: Listed("0" * 64, about) for filename in files}

    def why(text: str, names: list[str], repo: str | None) -> str:
        (wanted,) = select(config.Loaded(config.parse(text, "pinwheel.toml"), None), names, repo, None, "")
        judged = judge(Job(wanted, resolved, manifest.parse('[project]\nname = "acme-greet"\n', "here")), there)
        return judged.why if isinstance(judged, Job) else ""

    new = "new Python: the index lacks its wheel for 3.12"
    assert why(text, ["acme-greet"], None) == new
    assert why(text, [], "/srv/greet.git") == new
    assert why(text, [], "/srv/other.git") == new
    assert why(text + own, ["acme-greet"], None) == ""
