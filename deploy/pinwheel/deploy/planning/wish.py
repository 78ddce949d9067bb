"""What shall run: a version, proven by its lock. Pure functions over the documents that lie beside the version."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel.deploy.planning import wheels
from pinwheel.deploy.planning.fit import Needs, needs
from pinwheel.deploy.planning.wheels import Package
from pinwheel.errors import PinwheelError

Act = Literal["rollout", "rollback", "resume", "restart"]
"""What is done to hosts in waves."""


class BadLock(PinwheelError):
    """The lock beside the version does not say what it must."""


@dataclass(frozen=True, slots=True)
class Task:
    """A command that runs once for the release. `program` is the one as which it runs, as `activate` takes it; `host`
    empty: the first that is activated; `when`: before the first activation, or after the last."""

    name: str
    program: Mapping[str, Any]
    command: tuple[str, ...]
    timeout_s: float
    when: str = "before"
    host: str = ""


@dataclass(frozen=True, slots=True)
class Programs:
    """Some programs on one host: supervisor's file for them, and their health checks."""

    conf: str
    programs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """How the application runs on one host: what is stopped for its successor, the tasks as they would run there, and
    in each colour what runs beside its successor: `colours` is empty when nothing is replaced without downtime."""

    conf: str
    programs: tuple[Mapping[str, Any], ...]
    tasks: tuple[Task, ...] = ()
    colours: Mapping[str, Programs] = field(default_factory=dict)

    def text(self, colour: str) -> str:
        """All that supervisor reads when it runs in `colour`; in any, when that is none of its own."""
        either = self.colours.get(colour) or next(iter(self.colours.values()), None)
        return self.conf + (either.conf if either else "")

    @property
    def sha256(self) -> str:
        """Of all of it: two setups that differ in anything have two."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a rollout brings to hosts: what the lock has, and a setup for each host by its name. `deliver` is "index"
    when hosts fetch it there, "push" when it comes over our connection. `secrets` is the id of the set that programs
    get, `secret_names` what is in it; the values travel beside the plan, never in it."""

    setups: Mapping[str, Setup]
    packages: tuple[Package, ...] = field(default=(), repr=False)
    needs: Needs = field(default_factory=Needs)
    deliver: Literal["index", "push"] = "index"
    secrets: str = ""
    secret_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """`release` of `application` shall run. Without a delivery each host takes what it has kept. Of a restart,
    `version` and `release` are those that run, when it is one on all hosts, and empty otherwise.
    `signer` is who has signed that it comes from `commit`; empty when that is not proven."""

    application: str
    project: str
    version: str
    release: str
    delivery: Delivery | None
    lock_sha256: str = ""
    commit: str = ""
    signer: str = ""
    act: Act = "rollout"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that was checked: `release` is the version and the first eight digits of `sha256` (of pylock.toml)."""

    release: str
    sha256: str
    packages: tuple[Package, ...] = field(repr=False)
    pins: Pins = field(repr=False)
    needs: Needs = field(default_factory=Needs)


def lock(project: str, version: str, pylock: bytes, requirements: bytes, published: Collection[str]) -> Lock:
    """Check the two lock documents of `project` in `version` against `published`, the sha256 of its files in the index.

    Raises `BadLock` when the lock does not pin exactly this version with hashes that the index lists, or the documents
    are of two locks.
    """
    where = f"the lock of {project}=={version}"
    remedy = f"make a new one: pinwheel packaging.lock {project}=={version}"
    try:
        text = requirements.decode()
        document = tomllib.loads(pylock.decode())
        packages = document.get("packages", [])
        needed = needs(document)
        pinned, twin, known = pins(text), _packages(packages), wheels.packages(packages)
    # TOMLDecodeError, UnicodeDecodeError and InvalidVersion are ValueErrors; the others come from another shape
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadLock("pylock.toml or requirements.txt cannot be read", where=where, remedy=remedy) from error
    name = canonicalize_name(project)
    ours = [each for each in pinned if each[0] == name]
    if ours != [(name, Version(version))]:
        says = f"pins {', '.join(str(each) for _, each in ours)}" if ours else "does not name it"
        raise BadLock(f"requirements.txt {says}", where=where, remedy=remedy)
    bare = sorted({each for (each, _), hashes in pinned.items() if not hashes})
    if bare:
        raise BadLock(f"requirements.txt has no hashes for {', '.join(bare)}", where=where, remedy=remedy)
    differ = sorted(each for each in {*pinned, *twin} if pinned.get(each) != twin.get(each))
    if differ:
        # they are stored one after the other, so this may be the half of two locks
        named = ", ".join(f"{each} {pinned_at}" for each, pinned_at in differ)
        raise BadLock(f"pylock.toml and requirements.txt disagree on {named}", where=where, remedy=remedy)
    strange = pinned[ours[0]] - set(published)
    if strange:
        raise BadLock(
            f"the index has no file of {project} {version} with sha256 {min(strange)}",
            where=where,
            remedy=f"was it locked against another index? {remedy}",
        )
    sha256 = hashlib.sha256(pylock).hexdigest()
    return Lock(f"{version}-{sha256[:8]}", sha256, known, pinned, needed)


Pins = dict[tuple[str, Version], frozenset[str]]
"""sha256 digests by canonical name and version. A name may have several versions, each for a marker."""


def pins(requirements: str) -> Pins:
    """What a requirements file pins, as pip and uv write it. Raises `InvalidVersion`."""
    found: Pins = {}
    for line in requirements.replace("\\\n", " ").splitlines():
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?\s*==\s*([^\s;#]+)", line)
        if match:
            digests = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
            found[str(canonicalize_name(match[1])), Version(match[2])] = digests
    return found


def _packages(packages: Sequence[Mapping[str, Any]]) -> Pins:
    """What the packages of a pylock.toml (PEP 751) pin. Raises `KeyError` and its like for another shape."""
    return {
        (str(canonicalize_name(each["name"])), Version(each["version"])): frozenset(
            file["hashes"]["sha256"]
            for file in (*each.get("wheels", ()), *filter(None, [each.get("sdist")]))
            if "sha256" in file["hashes"]
        )
        for each in packages
    }


def commit(statement: bytes) -> str:
    """The commit that an in-toto statement (SLSA v1 provenance) names as source; empty when it names none."""
    try:
        dependencies = json.loads(statement)["predicate"]["buildDefinition"]["resolvedDependencies"]
        digests = [each.get("digest", {}) for each in dependencies]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""  # a story for people, not a proof; verifying it is another step
    return next((each["gitCommit"] for each in digests if each.get("gitCommit")), "")
