"""Git: one bare mirror for each repository, fetched incrementally, and the commit's tree laid out on disk.

Tags are fetched without `+` and never deleted, so the mirror remembers where
each tag stood; a tag that names another commit now is an error that names both.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pinwheel import process
from pinwheel.errors import PinwheelError
from pinwheel.packaging import refs as naming
from pinwheel.packaging.refs import Refs, Resolved
from pinwheel.packaging.repositories.access import Own, Way
from pinwheel.packaging.repositories.addresses import beside
from pinwheel.packaging.schedule import each
from pinwheel.packaging.workspace import put, unless_full

ASKED_AT_ONCE = 8  # an SSH server turns away some of more than ten that have not said yet who they are
ASK_S = 60.0  # a remote that has not listed its refs by then is out of reach
FETCH_S = 1800.0
LOCAL_S = 300.0
STALE_LOCK_S = 5.0  # git holds a ref's lock for milliseconds; one that stays belongs to a process that was killed

OWN = Own()
PASSED_ON = ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY")


class RepositoryUnreachable(PinwheelError):
    """There is no repository at the address, or it does not answer."""


class UnknownRef(PinwheelError):
    """The repository has no such tag, branch or commit."""


class TagMoved(PinwheelError):
    """The tag named another commit when it was last seen."""


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One entry of a commit's tree: path from the repository's top, mode as octal text, the blob's id."""

    path: str
    mode: str
    blob: str

    @property
    def is_submodule(self) -> bool:
        return self.mode == "160000"

    @property
    def is_plain(self) -> bool:
        """Neither a submodule nor a symbolic link."""
        return self.mode in ("100644", "100755")


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """`epoch` is the committer's time in seconds since 1970, `tree` the id of the commit's tree."""

    epoch: int
    tree: str


class Mirror:
    """The mirror of the repository at `address` in the folder `cache`; `way` leads into the repository.

    Safe for several processes at once: whatever changes the mirror holds its lock.
    """

    def __init__(self, address: str, cache: Path, environ: Mapping[str, str] = os.environ, way: Way = OWN) -> None:
        self.address = address
        self._environ = environ
        self._way = way
        words = re.sub(r"[^A-Za-z0-9.]+", "-", address.removesuffix(".git")).strip("-.")[-40:]
        self._folder = cache / f"{words}-{hashlib.sha256(address.encode()).hexdigest()[:12]}.git"
        self._config = self._folder.with_suffix(".gitconfig")

    # what the remote offers

    def listing(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The command and environment that list the remote's refs. Raises `UsageError` for an unfit key or token."""
        argv = ("git", "ls-remote", "--symref", "--", self.address, "HEAD", "refs/heads/*", "refs/tags/*")
        return argv, self._remote_env()

    def unreachable(self, words: str) -> PinwheelError:
        """The error for a remote that did not answer; `words` are what git printed."""
        local = self.local
        if local is None:
            return RepositoryUnreachable(
                f"the repository cannot be reached: {self.said(words)}",
                where=self.address,
                remedy=self._way.remedy,
            )
        if not local.exists():
            return RepositoryUnreachable(
                "there is no such folder", where=str(local), remedy="correct the repository's path"
            )
        above = next((folder for folder in local.parents if (folder / ".git").exists()), None)
        if above and not (local / ".git").exists():
            return RepositoryUnreachable(
                "this folder is part of a git repository, not its top",
                where=str(local),
                remedy=f"--repo {above} --subdirectory {local.relative_to(above)}",
            )
        return RepositoryUnreachable(
            f"this is not a git repository that can be read: {said(words)}",
            where=str(local),
            remedy="`git init`, commit and tag first; or name another folder",
        )

    def said(self, words: str) -> str:
        """What git printed while it spoke with the remote, on one line and without a secret."""
        return said(self._way.masked(words, self._environ))

    # the mirror

    def resolve(self, refs: Refs, wanted: str) -> Resolved:
        """The commit that `wanted` names, checked against what the mirror remembers of its tag.

        Raises `UnknownRef`, `TagMoved`. Nothing is fetched, except to look for a commit id.
        """
        found = naming.find(refs, wanted)
        if found is None or (found.kind == "commit" and not self._commit_within_reach(refs, found.commit)):
            raise self._unknown(refs, wanted)
        if found.kind == "tag":
            seen = self._remembered().get(found.tag)
            if seen and seen != found.commit:
                raise TagMoved(
                    f"the tag {found.tag} has moved: it named commit {seen} and names {found.commit} now",
                    where=self.address,
                    remedy="tag the new commit with a new version; if the move was intended and nothing was"
                    f" published: git --git-dir={self._folder} update-ref -d refs/tags/{found.tag}",
                )
        return found

    def fetch(self, resolved: Resolved) -> None:
        """Bring the commit and what it needs into the mirror; nothing is asked when it is there."""
        if resolved.kind == "tag" and self._remembered().get(resolved.tag) == resolved.commit:
            return
        if resolved.kind == "tag":
            self._fetch([f"{resolved.ref}:{resolved.ref}"])
        elif not self._has(resolved.commit):
            own = resolved.ref if resolved.ref != "HEAD" else "refs/heads/HEAD"
            self._fetch([f"+{resolved.ref}:{own}"])
            # a branch is named after the tag before it; that some other tag has moved does not matter here
            self._fetch(["refs/tags/*:refs/tags/*"], check=False)

    def bring(self, commit: str) -> None:
        """Bring a commit into the mirror of which only the id is known, as of a submodule's. Raises `UnknownRef`."""
        if self._has(commit):
            return
        answer = _answer(self, ASK_S)
        if isinstance(answer, PinwheelError):
            raise answer
        self.resolve(answer, commit)

    def submodules(self, commit: str) -> dict[str, str]:
        """The address of each submodule's repository, by the submodule's path, as the commit's `.gitmodules` says."""
        asked = ("config", "-z", f"--blob={commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.(path|url)$")
        done = self.git(*asked, check=False)
        values = dict(entry.split("\n", 1) for entry in done.output.split("\0") if "\n" in entry)
        return {
            path: beside(self.address, url)
            for key, path in values.items()
            if key.endswith(".path") and (url := values.get(f"{key.removesuffix('.path')}.url"))
        }

    def bring_tag_object(self, tag: Resolved) -> None:
        """Bring in the tag as the remote has it: it may have been signed again since it was fetched. The tag that is
        remembered stays, because it tells where the tag stood."""
        if self.git("cat-file", "-e", tag.tag_object, check=False).exit_code:
            self._fetch([f"+{tag.ref}:refs/signed/{tag.tag}"])

    def blobs(self, files: Sequence[Path]) -> list[str]:
        """Git's ids for the contents of files on disk."""
        paths = "".join(f"{file}\n" for file in files)
        return self.git("hash-object", "--no-filters", "--stdin-paths", stdin=paths).output.split()

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Path, dict[str, str]]]:
        """The mirror's folder, locked, and an environment in which git gets into the remote. Raises `UsageError`."""
        env = self._remote_env()
        with self._locked():
            yield self._folder, env

    def left_out(self, into: Path, paths: Sequence[str]) -> list[str]:
        """Those of `paths` in the folder of an export, or folders above them, that are marked `export-ignore`."""
        folders = {f"{above}/" for path in paths for above in PurePosixPath(path).parents if above.name}
        own = {"GIT_DIR": str(into / ".git"), "GIT_WORK_TREE": str(into)}
        asked = "\0".join([*sorted(folders), *paths, ""])
        argv = ("git", "check-attr", "--stdin", "-z", "export-ignore")
        done = process.run(argv, cwd=into, env=self._env() | own, stdin=asked, timeout_s=LOCAL_S)
        told = self._succeeded(done, into).output.split("\0")
        marked = [path for path, value in zip(told[::3], told[2::3], strict=False) if value == "set"]
        return [path for path in marked if not any(path.startswith(above) and path != above for above in marked)]

    def facts(self, commit: str) -> CommitFacts:
        """When the commit was made, and its tree."""
        epoch, tree = self.git("show", "-s", "--format=%ct %T", commit).output.split()
        return CommitFacts(int(epoch), tree)

    def tree(self, commit: str, subdirectory: str = "") -> tuple[TreeFile, ...]:
        """Every file of the commit's tree below `subdirectory`, with paths relative to it."""
        below = f"{commit}:{subdirectory}" if subdirectory else commit
        listing = self.git("ls-tree", "-r", "-z", "--full-tree", below).output
        files = []
        for entry in filter(None, listing.split("\0")):
            about, _, path = entry.partition("\t")
            mode, _kind, blob = about.split()
            files.append(TreeFile(path, mode, blob))
        return tuple(files)

    def text(self, commit: str, path: str) -> str | None:
        """The text of a file at the commit, None when it is not there."""
        done = self.git("cat-file", "blob", f"{commit}:{path}", check=False)
        return None if done.exit_code else done.output

    def distance(self, commit: str) -> tuple[str, int]:
        """The nearest tag at or before the commit and how many commits lie between; ("", count) without one."""
        described = self.git("describe", "--tags", "--long", commit, check=False)
        if described.exit_code:
            return "", int(self.git("rev-list", "--count", commit).output)
        tag, count, _ = described.output.strip().rsplit("-", 2)
        return tag, int(count)

    def commits_between(self, before: str, after: str, subdirectory: str = "") -> int:
        """How many commits lead to `after` and not to `before`, of those that change something in `subdirectory`."""
        below = ("--", f":/{subdirectory}") if subdirectory else ()
        return int(self.git("rev-list", "--count", f"{before}..{after}", *below).output)

    def export(self, commit: str, into: Path) -> None:
        """Lay the commit's whole tree out in the folder `into`, as a repository of its own with the known tags.

        Not `git archive`: that would leave out what `export-ignore` says and rewrite `export-subst`. A repository,
        because backends ask git which files belong to an sdist (setuptools-scm, meson) and would silently ship fewer.
        """
        made = ("git", "init", "--quiet", "--template=", str(into))
        self._succeeded(process.run(made, env=self._env(), timeout_s=LOCAL_S), into.parent)
        store = into / ".git" / "objects" / "info"
        store.mkdir(parents=True, exist_ok=True)
        (store / "alternates").write_text(f"{self._folder.resolve() / 'objects'}\n")
        tags = self.git("for-each-ref", "--format=create %(refname) %(objectname)", "refs/tags").output
        own = {"GIT_DIR": str(into / ".git"), "GIT_WORK_TREE": str(into)}
        updates = f"{tags}option no-deref\nupdate HEAD {commit}\n"
        for argv, stdin in ((("update-ref", "--stdin"), updates), (("read-tree", "-u", "--reset", commit), "")):
            done = process.run(("git", *argv), cwd=into, env=self._env() | own, stdin=stdin, timeout_s=LOCAL_S)
            self._succeeded(done, into)

    @property
    def local(self) -> Path | None:
        """The folder, when the repository is one on this machine."""
        return Path(self.address) if Path(self.address).is_absolute() else None

    # inside

    def _has(self, commit: str) -> bool:
        if not self._folder.is_dir():
            return False
        return self.git("cat-file", "-e", f"{commit}^{{commit}}", check=False).exit_code == 0

    def _commit_within_reach(self, refs: Refs, commit: str) -> bool:
        if self._has(commit):
            return True
        known = self._remembered()
        self._fetch(
            ["+refs/heads/*:refs/heads/*", *(f"refs/tags/{t}:refs/tags/{t}" for t in refs.tags if t not in known)]
        )
        if not self._has(commit):
            # no branch or tag leads there; some servers hand out any commit by its id
            self._fetch([commit], check=False)
        return self._has(commit)

    def _remembered(self) -> dict[str, str]:
        """The commit that each tag named when it was first fetched."""
        if not self._folder.is_dir():
            return {}
        listing = self.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/tags").output
        found = {}
        for line in listing.splitlines():
            name, direct, *peeled = line.split()
            found[name.removeprefix("refs/tags/")] = peeled[0] if peeled else direct
        return found

    def _fetch(self, refspecs: Sequence[str], *, check: bool = True) -> None:
        with self.opened() as (_folder, env):
            if not self._folder.is_dir():
                # under another name first: others read the mirror without the lock, as soon as it is there
                partial = self._folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                made = ("git", "init", "--quiet", "--bare", str(partial))
                self._succeeded(process.run(made, env=self._env(), timeout_s=LOCAL_S), self._folder.parent)
                partial.rename(self._folder)
            self._remove_stale_locks()
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules")
            argv = ("git", f"--git-dir={self._folder}", "fetch", *options, "--stdin", "--", self.address)
            done = process.run(argv, env=env, stdin="\n".join(refspecs) + "\n", timeout_s=FETCH_S)
            error = unless_full(self.unreachable(done.errors), self._folder) if done.exit_code else None
            if error is not None:
                # what a fetch that was cut off leaves there is found by no later one
                for rest in (self._folder / "objects").rglob("tmp_*"):
                    if rest.is_file():
                        rest.unlink(missing_ok=True)
        if error is not None and check:
            raise error

    def _remove_stale_locks(self) -> None:
        """Remove ref locks that a killed git left behind; a git that is orphaned but at work gets time to end."""
        deadline = time.monotonic() + STALE_LOCK_S
        while locks := [*self._folder.glob("*.lock"), *(self._folder / "refs").rglob("*.lock")]:
            if time.monotonic() > deadline:
                for lock in locks:
                    lock.unlink(missing_ok=True)
                return
            time.sleep(0.05)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with self._folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _unknown(self, refs: Refs, wanted: str) -> UnknownRef:
        if naming.FULL_SHA.fullmatch(wanted.lower()):
            remedy = "push the commit to the repository, with a branch or a tag that leads to it"
        elif naming.SHORT_SHA.fullmatch(wanted):
            remedy = "a commit is named by its full id: `git rev-parse` prints it"
        elif nearest := naming.near(refs, wanted):
            remedy = f"did you mean {' or '.join(nearest)}?"
        else:
            remedy = "the repository has no version tags yet: tag a commit and push the tag"
        return UnknownRef(f"there is no tag, branch or commit {wanted!r}", where=self.address, remedy=remedy)

    def git(self, *words: str, stdin: str = "", check: bool = True) -> process.Completed:
        """Run git on the mirror, with no way to the remote. With `check`, raises `PinwheelError` when it fails."""
        argv = ("git", f"--git-dir={self._folder}", *words)
        done = process.run(argv, env=self._env(), stdin=stdin, timeout_s=LOCAL_S)
        return self._succeeded(done) if check else done

    def _succeeded(self, done: process.Completed, *written: Path) -> process.Completed:
        """`done`, when git did what it was asked for; `written` are the folders into which it wrote."""
        if done.exit_code:
            error = PinwheelError(
                f"git failed: {said(done.errors)}",
                where=str(self._folder),
                remedy="if the mirror is damaged, remove this folder; it is fetched again",
            )
            raise unless_full(error, *written)
        return done

    def _env(self) -> dict[str, str]:
        """The environment of git: nobody's configuration but ours, and no question on a terminal.

        Other variables go through, because a GIT_ASKPASS program may read its token from one; those that belong
        to the index and its clients do not.
        """
        kept = {
            key: value
            for key, value in self._environ.items()
            if key in PASSED_ON or not key.startswith(("GIT_", "PINWHEEL_", "TWINE_", "UV_", "PIP_"))
        }
        return kept | {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self._configured()),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_HTTP_LOW_SPEED_LIMIT": "1",
            "GIT_HTTP_LOW_SPEED_TIME": "60",
            "LC_ALL": "C",
        }

    def _remote_env(self) -> dict[str, str]:
        """The same, with the way into the repository. Raises `UsageError`."""
        return self._way.opened(self._env(), self._environ, self._folder.with_suffix(".askpass"))

    def _configured(self) -> Path:
        """Git's configuration for this mirror.

        Whoever names a repository has it built, which runs its code: git's check of its owner adds nothing then.
        It has to be a file, because git hides variables like GIT_CONFIG_COUNT from the other end of a local fetch.
        """
        text = "[gc]\n\tauto = 0\n[core]\n\thooksPath = /dev/null\n"
        text += "\tattributesFile = /dev/null\n\texcludesFile = /dev/null\n[advice]\n\tdetachedHead = false\n"
        if self.local:
            quoted = str(self.local).replace("\\", "\\\\").replace('"', '\\"')
            text += f'[safe]\n\tdirectory = "{quoted}"\n\tdirectory = "{quoted}/.git"\n'
        put(self._config, text)
        return self._config


def ask(mirrors: Sequence[Mirror], timeout_s: float = ASK_S) -> list[Refs | PinwheelError]:
    """What each mirror's remote offers, in the order given; many are asked at the same time."""
    return each(mirrors, lambda mirror: _answer(mirror, timeout_s), at_once=ASKED_AT_ONCE)


def _answer(mirror: Mirror, timeout_s: float) -> Refs | PinwheelError:
    try:
        argv, env = mirror.listing()
        done = process.run(argv, env=env, timeout_s=timeout_s)
    except process.TimedOut:
        return mirror.unreachable("it did not answer in time")
    except process.ProgramMissing:
        raise
    except PinwheelError as error:  # a key or token that is not fit for use, say
        return error
    if done.exit_code:
        return mirror.unreachable(done.errors)
    refs = naming.parse(done.output)
    if not refs.branches and not refs.tags:
        return RepositoryUnreachable(
            "the repository has no commits", where=mirror.address, remedy="commit something, tag it and push"
        )
    return refs


def said(text: str) -> str:
    """Git's own words on one line, without credentials in addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"//[^@/\s]*@", "//…@", "; ".join(lines[-4:])) or "git said nothing"
