"""Mirrors: what is fetched, what is remembered, what is refused. Real git, tiny repositories."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, git, offered

from pinwheel.errors import PinwheelError
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.repositories import git as place
from pinwheel.packaging.repositories.git import Mirror, RepositoryUnreachable, TagMoved, UnknownRef
from pinwheel.packaging.repositories.worktree import DirtyTree, check_clean

MakeRepository = Callable[[str], Repository]


@pytest.fixture
def remote(make_repository: MakeRepository) -> Repository:
    made = make_repository("greet")
    made.commit({"a.txt": "one"}, "v1.0.0")
    made.commit({"a.txt": "two"}, "v1.1.0", annotated=True)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def mirror(remote: Repository, cache: Path) -> Mirror:
    return Mirror(remote.address, cache)


def fetched(mirror: Mirror, wanted: str) -> Resolved:
    resolved = mirror.resolve(offered(mirror), wanted)
    mirror.fetch(resolved)
    return resolved


def test_tags_of_both_kinds_come_down_to_their_commits(mirror: Mirror, remote: Repository) -> None:
    light, annotated = fetched(mirror, "v1.0.0"), fetched(mirror, "v1.1.0")
    assert mirror.text(light.commit, "a.txt") == "one"
    assert mirror.text(annotated.commit, "a.txt") == "two"
    assert annotated.commit == remote.head
    assert annotated.tag_object not in ("", annotated.commit)
    assert light.tag_object == light.commit


def test_a_branch_is_followed_as_it_moves(mirror: Mirror, remote: Repository) -> None:
    before = fetched(mirror, "main")
    commit = remote.commit({"a.txt": "three"})
    git(remote.folder, "reset", "--quiet", "--hard", before.commit + "~1")
    rewound = fetched(mirror, "main")
    assert (before.kind, rewound.commit) == ("branch", git(remote.folder, "rev-parse", "v1.0.0"))
    assert mirror.text(rewound.commit, "a.txt") == "one"
    assert commit != rewound.commit


def test_a_full_commit_is_found_also_when_no_branch_leads_to_it(mirror: Mirror, remote: Repository) -> None:
    lost = remote.commit({"a.txt": "lost"})
    git(remote.folder, "reset", "--quiet", "--hard", "v1.0.0")
    git(remote.folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    assert mirror.text(fetched(mirror, lost).commit, "a.txt") == "lost"


def test_a_short_commit_id_is_refused_with_the_reason(mirror: Mirror, remote: Repository) -> None:
    with pytest.raises(UnknownRef) as caught:
        mirror.resolve(offered(mirror), remote.head[:10])
    assert "full id" in caught.value.remedy


def test_an_unknown_ref_is_answered_with_the_nearest_one(mirror: Mirror) -> None:
    with pytest.raises(UnknownRef) as caught:
        mirror.resolve(offered(mirror), "v1.0")
    assert "v1.0.0" in caught.value.remedy
    with pytest.raises(UnknownRef):
        mirror.resolve(offered(mirror), "0" * 40)


def test_a_commit_that_is_nowhere_is_not_mistaken_for_a_name(mirror: Mirror) -> None:
    with pytest.raises(UnknownRef) as caught:
        fetched(mirror, "b" * 40)
    assert "did you mean" not in caught.value.remedy


def test_a_moved_tag_is_an_error_that_names_both_commits(mirror: Mirror, remote: Repository) -> None:
    before = fetched(mirror, "v1.0.0").commit
    after = remote.commit({"a.txt": "moved"})
    git(remote.folder, "tag", "--force", "v1.0.0")
    with pytest.raises(TagMoved) as caught:
        fetched(mirror, "v1.0.0")
    assert before in caught.value.problem
    assert after in caught.value.problem


def test_an_annotated_tag_that_was_moved_by_force_is_found_out(mirror: Mirror, remote: Repository) -> None:
    before = fetched(mirror, "v1.1.0").commit
    after = remote.commit({"a.txt": "moved"})
    git(remote.folder, "tag", "--force", "--annotate", "--message", "moved", "v1.1.0")
    with pytest.raises(TagMoved, match=f"{before} and names {after}"):
        fetched(mirror, "v1.1.0")
    git(remote.folder, "tag", "--delete", "v1.1.0")
    git(remote.folder, "tag", "v1.1.0")
    with pytest.raises(TagMoved):
        fetched(mirror, "v1.1.0")


def test_a_tag_that_was_signed_again_has_not_moved(mirror: Mirror, remote: Repository) -> None:
    before = fetched(mirror, "v1.1.0")
    git(remote.folder, "tag", "--force", "-m", "again", "v1.1.0", "v1.1.0^{commit}")
    assert fetched(mirror, "v1.1.0").commit == before.commit


def test_another_tag_that_moved_does_not_stand_in_the_way(mirror: Mirror, remote: Repository) -> None:
    fetched(mirror, "v1.0.0")
    git(remote.folder, "tag", "--force", "v1.0.0", "main")
    commit = remote.commit({"a.txt": "new"}, "v2.0.0")
    assert fetched(mirror, "v2.0.0").commit == commit
    assert fetched(mirror, commit).commit == commit


def test_what_is_there_is_not_fetched_again(mirror: Mirror, remote: Repository) -> None:
    resolved = fetched(mirror, "v1.0.0")
    remote.folder.rename(remote.folder.with_name("away"))
    mirror.fetch(resolved)
    assert mirror.text(resolved.commit, "a.txt") == "one"


def test_the_tree_is_laid_out_whatever_attributes_say(
    make_repository: MakeRepository, cache: Path, tmp_path: Path
) -> None:
    remote = make_repository("attributes")
    remote.write({".gitattributes": "hidden.txt export-ignore\nid.txt export-subst\n", "id.txt": "$Format:%H$"})
    remote.write({"hidden.txt": "here", "bin/run": "#!/bin/sh\n", "ünï/c ode.txt": "yes"})
    (remote.folder / "bin/run").chmod(0o755)
    (remote.folder / "link").symlink_to("bin/run")
    remote.commit({}, "v1")
    mirror = Mirror(remote.address, cache)
    commit = fetched(mirror, "v1").commit
    into = tmp_path / "out" / "tree"
    into.parent.mkdir()
    mirror.export(commit, into)
    assert (into / "hidden.txt").read_text() == "here"
    assert (into / "id.txt").read_text() == "$Format:%H$"
    assert os.access(into / "bin/run", os.X_OK)
    assert (into / "link").readlink() == Path("bin/run")
    there = {str(path.relative_to(into)) for path in into.rglob("*") if not path.is_dir()}
    assert {path for path in there if not path.startswith(".git/")} == {file.path for file in mirror.tree(commit)}
    assert {file.path for file in mirror.tree(commit, "bin")} == {"run"}


def test_what_is_laid_out_answers_tools_that_ask_git(mirror: Mirror, tmp_path: Path) -> None:
    commit = fetched(mirror, "v1.1.0").commit
    mirror.export(commit, tmp_path / "tree")
    assert git(tmp_path / "tree", "ls-files") == "a.txt"
    assert git(tmp_path / "tree", "describe", "--tags", "--dirty") == "v1.1.0"
    assert git(tmp_path / "tree", "rev-parse", "HEAD") == commit
    assert git(tmp_path / "tree", "status", "--porcelain") == ""


def test_an_attribute_cannot_make_git_run_a_program(
    make_repository: MakeRepository, cache: Path, tmp_path: Path
) -> None:
    remote = make_repository("filters")
    remote.commit({".gitattributes": "* filter=evil\n", "a.txt": "x"}, "v1")
    git(remote.folder, "config", "filter.evil.smudge", f"touch {tmp_path / 'ran'}")
    mirror = Mirror(remote.address, cache)
    mirror.export(fetched(mirror, "v1").commit, tmp_path / "tree")
    assert not (tmp_path / "ran").exists()


def test_the_users_git_configuration_has_no_say(
    remote: Repository, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "{tmp_path}/elsewhere"]\n\tinsteadOf = {remote.address}\n')
    commit = remote.commit({"b.txt": "one\n"}, "v1.2.0")
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/attributes").write_text("*.txt text eol=crlf\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
    mirror = Mirror(remote.address, cache)
    mirror.export(fetched(mirror, "v1.2.0").commit, tmp_path / "tree")
    assert mirror.text(commit, "a.txt") == "two"
    assert (tmp_path / "tree/b.txt").read_bytes() == b"one\n"


def test_distance_counts_from_the_nearest_tag(mirror: Mirror, remote: Repository) -> None:
    remote.commit({"a.txt": "three"})
    remote.commit({"a.txt": "four"})
    fetched(mirror, "v1.1.0")
    assert mirror.distance(fetched(mirror, "main").commit) == ("v1.1.0", 2)


def test_several_repositories_are_asked_at_once_and_one_that_fails_is_a_value(
    mirror: Mirror, remote: Repository, cache: Path, tmp_path: Path
) -> None:
    gone = Mirror(str(tmp_path / "gone"), cache)
    there, missing = place.ask([mirror, gone])
    assert not isinstance(there, PinwheelError)
    assert there.head == remote.head
    assert isinstance(missing, RepositoryUnreachable)
    assert "no such folder" in missing.problem


def test_a_folder_inside_a_repository_is_answered_with_the_right_flags(remote: Repository, cache: Path) -> None:
    inside = remote.folder / "sub"
    inside.mkdir()
    with pytest.raises(RepositoryUnreachable) as caught:
        offered(Mirror(str(inside), cache))
    assert caught.value.remedy == f"--repo {remote.folder} --subdirectory sub"


def test_a_folder_without_git_and_a_repository_without_commits_are_said_to_be_so(
    make_repository: MakeRepository, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(RepositoryUnreachable, match="not a git repository"):
        offered(Mirror(str(tmp_path / "plain"), cache))
    with pytest.raises(RepositoryUnreachable, match="no commits"):
        offered(Mirror(make_repository("empty").address, cache))


def test_a_remote_that_does_not_answer_is_one_clear_error(cache: Path) -> None:
    with pytest.raises(RepositoryUnreachable) as caught:
        offered(Mirror("https://127.0.0.1:9/acme.git", cache))
    assert caught.value.where == "https://127.0.0.1:9/acme.git"


def test_what_is_checked_out_is_not_built_while_it_has_changes(mirror: Mirror, remote: Repository) -> None:
    check_clean(mirror.local, remote.head, os.environ)
    remote.write({"new.py": "forgotten"})
    with pytest.raises(DirtyTree) as caught:
        check_clean(mirror.local, remote.head, os.environ)
    assert "new.py" in caught.value.where
    check_clean(mirror.local, git(remote.folder, "rev-parse", "v1.0.0"), os.environ)
    remote.write({".gitignore": "new.py\n"})
    remote.commit({})
    check_clean(mirror.local, remote.head, os.environ)


def test_a_working_tree_that_git_cannot_read_does_not_count_as_clean(mirror: Mirror, remote: Repository) -> None:
    (remote.folder / ".git/index").write_text("damaged")
    with pytest.raises(PinwheelError, match="index file") as caught:
        check_clean(mirror.local, remote.head, os.environ)
    assert caught.value.where == remote.address


def test_a_lock_that_a_killed_git_left_is_removed(
    mirror: Mirror, remote: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "STALE_LOCK_S", 0.1)
    fetched(mirror, "v1.0.0")
    (folder,) = cache.glob("*.git")
    (folder / "refs/tags/v1.1.0.lock").write_text("")
    (folder / "packed-refs.lock").write_text("")
    assert mirror.text(fetched(mirror, "v1.1.0").commit, "a.txt") == "two"


@pytest.mark.root
def test_a_repository_of_another_user_is_read(mirror: Mirror, remote: Repository) -> None:
    for path in (remote.folder, *remote.folder.rglob("*")):
        os.chown(path, 4321, 4321, follow_symlinks=False)
    resolved = fetched(mirror, "v1.1.0")
    check_clean(mirror.local, resolved.commit, os.environ)
    assert mirror.text(resolved.commit, "a.txt") == "two"
