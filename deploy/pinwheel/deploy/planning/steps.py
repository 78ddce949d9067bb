"""Steps on a host, as frozen values, and the requests they become."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning.wish import Programs

PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Look:
    """Gather facts; changes nothing."""

    host: str

    action = "facts"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Make a host ready. `uv` is {"filename", "url", "sha256"} of the wheel for this very host, None when there is none
    for it; `users` are those that its programs run as; `wheels` are the files of supervisor, for hosts that are sent
    them. `deliver` as in `wish.Delivery`."""

    host: str
    uv: Mapping[str, str] | None
    supervisor_requirements: str
    users: tuple[str, ...] = ()
    wheels: tuple[Mapping[str, str], ...] = ()
    deliver: Literal["index", "push"] = "index"

    action: ClassVar[str] = "bootstrap"


@dataclass(frozen=True, slots=True)
class Survey(Bootstrap):
    """Say what `Bootstrap` would do; changes nothing."""

    action: ClassVar[str] = "survey"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build `release` beside what is there; nothing that runs is touched.

    `wheels` are exactly those that it is made of (`lock.Wheel.document`), () when it is there already; `base` is the
    release to share files with, empty for none. The releases that are `superfluous` then are removed first, unless
    something there needs them.
    """

    host: str
    application: str
    project: str
    release: str
    version: str
    lock_sha256: str
    commit: str
    wheels: tuple[Mapping[str, Any], ...] = field(repr=False)
    base: str = ""
    deliver: Literal["index", "push"] = "index"
    signer: str = ""
    superfluous: tuple[str, ...] = ()

    action = "prepare"


@dataclass(frozen=True, slots=True)
class Activate:
    """Let `release` run in the place of `expected_current`, or leave that one running when it does not pass its gate.

    `conf` and `programs` None: as the host stored them, and the `colours`, when the release was activated there before.
    `restart` None: what is as it should be goes on; otherwise the program of that name begins anew, or all of them
    when it is empty. `former`: as the host ran this very release before it was activated the last time.
    """

    host: str
    application: str
    release: str
    conf: str | None
    programs: tuple[Mapping[str, Any], ...] | None
    expected_current: str | None
    restart: str | None = None
    colours: Mapping[str, Programs] = field(default_factory=dict)
    former: bool = False

    action = "activate"


@dataclass(frozen=True, slots=True)
class RunOnce:
    """Run `task` of `release`, which is prepared, unless it was done before. `program` is as `activate` takes it.
    `mode`: run; again, although nobody knows how it ended before; done, which only writes down that it is."""

    host: str
    application: str
    release: str
    task: str
    program: Mapping[str, Any]
    command: tuple[str, ...]
    timeout_s: float
    mode: str

    action = "task"


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command beside what runs, as `program` of it would: the name under which supervisor knows that."""

    host: str
    application: str
    program: str
    command: tuple[str, ...]

    action = "run"


@dataclass(frozen=True, slots=True)
class Logs:
    """Tell the last `lines` of the logs of `program` (all of them when it is empty), and with `follow` what is added.

    `seen` is by process where somebody who was cut off goes on: inode and offset, as the host has told them.
    """

    host: str
    application: str
    program: str
    lines: int
    follow: bool
    seen: Mapping[str, Sequence[int]]

    action = "logs"


@dataclass(frozen=True, slots=True)
class Prune:
    """Remove these releases, by application, unless something uses them, and debris; `whole`: from the cache, too."""

    host: str
    applications: Mapping[str, Sequence[str]]
    whole: bool

    action: ClassVar[str] = "prune"


@dataclass(frozen=True, slots=True)
class Weigh(Prune):
    """Say what `Prune` would remove; changes nothing."""

    action: ClassVar[str] = "weigh"


Step = Look | Survey | Bootstrap | Prepare | Activate | RunOnce | Run | Logs | Weigh | Prune


def request(
    step: Step,
    target: Target,
    *,
    environment: str,
    rollout: str,
    fence: int | None,
    index_url: str = "",
    by: str = "",
    launcher: Mapping[str, str] | None = None,
    secrets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The runner's request for `step`, on behalf of `by`, which the host writes down. `index_url` carries the hosts'
    credential and `secrets` those of the programs, by application: they belong into this document, which travels on
    stdin, and nowhere else."""
    body = {f.name: getattr(step, f.name) for f in dataclasses.fields(step) if f.name != "host"}
    if isinstance(step, Activate):
        body["colours"] = {colour: dataclasses.asdict(each) for colour, each in step.colours.items()}
    if isinstance(step, Bootstrap | Prepare):
        body["index_url"] = index_url
    if isinstance(step, Prepare | RunOnce | Run):
        body["launcher"] = launcher
    if isinstance(step, Prepare):
        body["secrets"] = (secrets or {}).get(step.application)
    return {
        "protocol": PROTOCOL,
        "action": step.action,
        "host": step.host,
        "environment": environment,
        "rollout": rollout,
        "by": by,
        "fence": fence,
        "layout": target.layout.values(),
        "body": body,
    }
