"""What a git remote offers (tags, branches, HEAD), and what a person means by a ref of it. No I/O here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Kind = Literal["tag", "commit", "branch"]

FULL_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
SHORT_SHA = re.compile(r"[0-9a-f]{4,39}")


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: the object it names (a tag object when annotated), and the commit behind it."""

    object: str
    commit: str


@dataclass(frozen=True, slots=True)
class Refs:
    """Everything a repository offers, by short name. `head` is the commit of HEAD, empty when there is none."""

    tags: Mapping[str, Tag]
    branches: Mapping[str, str]
    head: str = ""
    head_branch: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a ref came down to. `tag` is its short name, empty for the other kinds; `tag_object` differs from
    `commit` for an annotated tag. A commit of kind "branch" may be built and never published. `signer` is who signed
    the tag, as in "ada@acme.example SHA256:…", once that was verified; empty when nobody asked."""

    kind: Kind
    ref: str
    commit: str
    tag: str = ""
    tag_object: str = ""
    signer: str = ""


def parse(listing: str) -> Refs:
    """Read what `git ls-remote --symref` prints."""
    tags: dict[str, Tag] = {}
    branches: dict[str, str] = {}
    head = head_branch = ""
    for line in listing.splitlines():
        left, _, ref = line.partition("\t")
        if left.startswith("ref: "):
            head_branch = left.removeprefix("ref: refs/heads/") if ref == "HEAD" else head_branch
        elif ref == "HEAD":
            head = left
        elif ref.startswith("refs/heads/"):
            branches[ref.removeprefix("refs/heads/")] = left
        elif ref.startswith("refs/tags/"):
            name = ref.removeprefix("refs/tags/")
            if name.endswith("^{}"):  # always the line after its tag: the commit that an annotated tag names
                name = name.removesuffix("^{}")
                tags[name] = Tag(tags[name].object, left)
            else:
                tags[name] = Tag(left, left)
    return Refs(tags, branches, head, head_branch)


def find(refs: Refs, wanted: str) -> Resolved | None:
    """The tag, full commit id or branch called `wanted`, in this order; None when the remote shows none.

    A full commit id is taken at its word: whether the repository has it is for the mirror to say.
    """
    short = wanted.removeprefix("refs/tags/")
    if short in refs.tags and not wanted.startswith("refs/heads/"):
        return of_tag(refs, short)
    if FULL_SHA.fullmatch(wanted.lower()):
        return Resolved("commit", wanted.lower(), wanted.lower())
    branch = wanted.removeprefix("refs/heads/")
    if branch in refs.branches and not wanted.startswith("refs/tags/"):
        return Resolved("branch", f"refs/heads/{branch}", refs.branches[branch])
    if wanted == "HEAD" and refs.head:
        return Resolved("branch", f"refs/heads/{refs.head_branch}" if refs.head_branch else "HEAD", refs.head)
    return None


def of_tag(refs: Refs, name: str) -> Resolved:
    """The tag called `name`, which must be there."""
    tag = refs.tags[name]
    return Resolved("tag", f"refs/tags/{name}", tag.commit, name, tag.object)


def version_in(tag: str, project: str = "") -> Version | None:
    """The version that a tag names: `v1.2.0`, `1.2.0`, `PROJECT-1.2.0`, `PROJECT-v1.2.0`; None for any other tag."""
    rests = [tag]
    if project:
        dashes = [at for at, letter in enumerate(tag) if letter == "-"]
        rests += [tag[at + 1 :] for at in dashes if canonicalize_name(tag[:at]) == canonicalize_name(project)]
    for rest in rests:
        digits = rest[1:] if rest[:1] in "vV" else rest
        if not digits[:1].isdigit():
            continue
        try:
            version = Version(digits)
        except InvalidVersion:
            continue
        # a local version cannot be published, so a tag that names one names no release
        return None if version.local else version
    return None


def newest(tags: Iterable[str], project: str = "") -> str | None:
    """The tag of the newest version; a pre-release only when there is no other.

    In a repository of several projects (some tag begins with this project's name) plain tags don't count.
    """
    names = list(tags)
    own = [tag for tag in names if project and version_in(tag, project) and not version_in(tag)]
    versions = {tag: found for tag in own or names if (found := version_in(tag, project))}
    final = {tag: found for tag, found in versions.items() if not found.is_prerelease}
    candidates = final or versions
    return max(candidates, key=lambda tag: (candidates[tag], tag), default=None)


def near(refs: Refs, wanted: str, limit: int = 3) -> tuple[str, ...]:
    """Names like `wanted` that do exist, nearest first; the newest versions when nothing is like it."""
    like = difflib.get_close_matches(wanted, [*refs.tags, *refs.branches], n=limit, cutoff=0.5)
    versions = {tag: found for tag in refs.tags if (found := version_in(tag))}
    return tuple(like or sorted(versions, key=lambda tag: versions[tag], reverse=True)[:limit])
