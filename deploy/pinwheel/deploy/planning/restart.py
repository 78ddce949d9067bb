"""What starts an application again where it runs, each host with the release that it has. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pinwheel.config import Rollout
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.making import THERE
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.plan import HostPlan, Plan, service
from pinwheel.deploy.planning.steps import Activate, Prepare
from pinwheel.deploy.planning.waves import batch_size
from pinwheel.deploy.planning.wish import Wish
from pinwheel.errors import PinwheelError


class NothingRuns(PinwheelError):
    """No host that answers runs the application."""


def restart(
    application: str, project: str, facts: Mapping[str, HostFacts | Outcome], policy: Rollout, program: str = ""
) -> Plan:
    """Start `application`, or its `program` alone, on every host of `facts` that runs it; the others are left out.

    Raises `NothingRuns`, and `UsageError` for a policy that cannot be.
    """
    batch_size(len(facts), policy)
    hosts = [
        made
        for known in facts.values()
        if isinstance(known, HostFacts) and (made := _host(application, project, known, program))
    ]
    if not hosts:
        remedy = f"roll it out: pinwheel deploy.rollout {application}==VERSION"
        raise NothingRuns(f"no host that answers runs {application}", remedy=remedy)
    releases = {(each.prepare.version, each.wanted) for each in hosts}
    version, release = releases.pop() if len(releases) == 1 else ("", "")
    blocked = tuple(known for known in facts.values() if isinstance(known, Outcome))
    wish = Wish(application, project, version, release, None, act="restart")
    return Plan(wish, tuple(hosts), blocked, policy, service(application, facts))


def _host(application: str, project: str, facts: HostFacts, program: str) -> HostPlan | None:
    here = facts.installed(application)
    release = here.release(here.current)
    if here.current is None or release is None:
        return None
    # it builds nothing, and lets the host know our token
    hold = Prepare(facts.host, application, project, release.release, release.version, release.lock_sha256, "", ())
    name = program and f"{application}-{program}"
    again = Activate(facts.host, application, release.release, None, None, here.current, name)
    why = f"start {name or 'it'} again" + ("; its conf was changed on the host and is put right" if here.drift else "")
    return HostPlan(facts.host, here.current, here.current, hold, THERE, again, None, "", why, here.conf_sha256)
