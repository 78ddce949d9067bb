"""The rules, over what a commit, a wheel and an sdist hold. No I/O here.

Every rule yields findings and none stops at the first, so that one report has them all.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from pinwheel.archive import Distribution
from pinwheel.packaging.inspection.findings import Finding
from pinwheel.packaging.inspection.leaks import Leak

SECRET_NAMES = (
    ".env",
    ".env.*",
    "*.env",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.kdbx",
)
HARMLESS_NAMES = ("*.example", "*.sample", "*.template", "*.dist", "example.env", "sample.env", "template.env")

REPLACE_IT = "keep it out of the package and out of git; what was published once has to be replaced"

SUBMODULE = "put the files into the repository, or say `submodules = true` in the project's table of pinwheel.toml"
LFS = "keep files that are packaged out of LFS, or say `lfs = true` in the project's table of pinwheel.toml"

MADE_FOR_SDISTS = ("PKG-INFO", "setup.cfg", "*.egg-info/*", "*.egg-info")
MADE_FOR_WHEELS = ("*.dist-info/*", "*.egg-info/*")
COMPILED = ("*.so", "*.pyd", "*.abi3.so", "*.dylib", "*.dll")


@dataclass(frozen=True, slots=True)
class Content:
    """One file of an archive: its path there (an sdist's top folder taken off), git's id for its bytes, the secrets
    that were found in it, and how many bytes at its end were not searched."""

    path: str
    blob: str
    leaks: tuple[Leak, ...] = ()
    unsearched_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an archive's files may come from. `tree` maps the commit's paths to git's ids; `generated` are globs
    of files that the build makes. `strict`: an undeclared file is an error, because there is a place to declare it."""

    tree: Mapping[str, str]
    generated: tuple[str, ...] = ()
    strict: bool = False


def problems_of_source(
    *,
    submodules: Sequence[str],
    pointers: Sequence[str],
    direct: Sequence[str],
    stated: str | None,
    expected: Version | None,
    tag: str,
) -> Iterable[Finding]:
    """What is wrong with a commit before anything is built from it.

    `stated` is the version that pyproject.toml states, None for a dynamic one.
    """
    for path in submodules:
        yield Finding("error", "submodule", path, "is a submodule, whose files are not in this commit", SUBMODULE)
    for path in pointers:
        yield Finding("error", "lfs-pointer", path, "is a Git LFS pointer, not the file itself", LFS)
    for requirement in direct:
        yield Finding(
            "error",
            "build-requires-url",
            "pyproject.toml",
            f"the build requirement {requirement!r} names an address",
            "require it by name and version, so that it comes from the index",
        )
    if stated is None:
        if tag and expected is None:
            yield Finding(
                "error",
                "no-version",
                "pyproject.toml",
                f"the version is dynamic and the tag {tag} names none",
                "tag the commit with its version, as in v1.2.0",
            )
        return
    try:
        version = Version(stated)
    except InvalidVersion:
        yield Finding(
            "error", "no-version", "pyproject.toml", f"{stated!r} is not a version", "see PEP 440; 1.2.0 is one"
        )
        return
    if tag and expected is not None and version != expected:
        yield Finding(
            "error",
            "version-mismatch",
            "pyproject.toml",
            f"states version {version}, the tag {tag} says {expected}",
            f"tag the commit v{version}, or correct the version and tag the new commit",
        )


def inspect(
    archive: Distribution,
    contents: Sequence[Content],
    *,
    name: str = "",
    version: Version | None = None,
    origin: Origin | None = None,
) -> tuple[Finding, ...]:
    """Judge one archive. Without `name` and `version` nothing in particular is expected of it; without an
    `origin` (a file that was not built here) nothing is known of where its files come from."""
    return (
        *_identity(archive, name, version),
        *_dependencies(archive),
        *_files(archive, contents, origin),
        *_secrets(archive, contents, origin),
    )


def _identity(archive: Distribution, name: str, version: Version | None) -> Iterable[Finding]:
    # archive.read has made sure that filename and metadata agree
    if name and archive.name != name:
        yield Finding(
            "error",
            "name-mismatch",
            archive.filename,
            f"is called {archive.name}, expected is {name}",
            "correct the project's name",
        )
    if version is not None and archive.version != version:
        yield Finding(
            "error",
            "version-mismatch",
            archive.filename,
            f"has version {archive.version}, the tag says {version}",
            f"tag the commit v{archive.version}, or correct the version and tag the new commit",
        )
    if archive.version.local:
        yield Finding(
            "error",
            "local-version",
            archive.filename,
            f"has the local version {archive.version}",
            "publish versions without the part after +; it marks a build that is not the tag's",
        )


def _dependencies(archive: Distribution) -> Iterable[Finding]:
    for requirement in archive.metadata.requires_dist or ():
        if requirement.url:
            yield Finding(
                "error",
                "requires-url",
                archive.filename,
                f"depends on {requirement.name} by its address",
                "depend on it by name and version, so that it comes from the index",
            )


def _files(archive: Distribution, contents: Sequence[Content], origin: Origin | None) -> Iterable[Finding]:
    if origin is None:
        return
    known = frozenset(origin.tree.values())
    made = (*(MADE_FOR_WHEELS if archive.kind == "wheel" else MADE_FOR_SDISTS), *origin.generated)
    if archive.kind == "wheel" and not archive.filename.endswith("-none-any.whl"):
        made += COMPILED
    for content in contents:
        if content.blob in known or _listed(content.path, made) or _rewritten(archive, content.path, origin.tree):
            continue
        yield Finding(
            "error" if origin.strict else "warning",
            "not-in-commit",
            content.path,
            "is not in the commit",
            "commit it, keep it out of the package, or name it under `generated` in pinwheel.toml",
            archive.filename,
        )


def _rewritten(archive: Distribution, path: str, tree: Mapping[str, str]) -> bool:
    """Whether the commit has a file at this path: a backend may have changed its content (a version, a shebang)."""
    if archive.kind == "sdist":
        return path in tree
    if ".data/scripts/" in path:
        name = path.rpartition("/")[2]
        return any(file.rpartition("/")[2] == name for file in tree)
    inside = path.split(".data/", 1)[1].partition("/")[2] if ".data/" in path else path
    return any(file == inside or file.endswith("/" + inside) for file in tree)


def _secrets(archive: Distribution, contents: Sequence[Content], origin: Origin | None) -> Iterable[Finding]:
    known = frozenset(origin.tree.values()) if origin else frozenset()
    for content in contents:
        # keys of a test suite are often committed and shipped in the sdist: worth a look, no reason to stop
        tracked = archive.kind == "sdist" and content.blob in known
        name = content.path.rpartition("/")[2]
        if _listed(name, SECRET_NAMES) and not _listed(name, HARMLESS_NAMES) and not name.endswith(".py"):
            yield Finding(
                "warning" if tracked else "error",
                "secret-file",
                content.path,
                "has a name that files of secrets have",
                REPLACE_IT,
                archive.filename,
            )
        for leak in content.leaks:
            lines = ", ".join(map(str, leak.lines))
            yield Finding(
                "warning" if tracked else leak.severity,
                "secret",
                content.path,
                f"holds what looks like {leak.kind} (line {lines})",
                REPLACE_IT,
                archive.filename,
            )
        if content.unsearched_bytes:
            yield Finding(
                "warning",
                "not-searched",
                content.path,
                f"is too large to be searched for secrets: {content.unsearched_bytes} bytes at its end were not",
                "look into it yourself, or keep it out of the package",
                archive.filename,
            )


def _listed(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
