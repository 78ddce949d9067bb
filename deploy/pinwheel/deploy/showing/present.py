"""Plans and reports as people and scripts see them: rows, lines and documents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pinwheel.deploy.planning import plan_file
from pinwheel.deploy.planning.gate import Ending, Outcome, named
from pinwheel.deploy.planning.plan import MIB, HostPlan, How, Plan, PlannedTask
from pinwheel.deploy.planning.readiness import Readied, Surveyed
from pinwheel.deploy.planning.steps import Survey
from pinwheel.deploy.reaching.hosts import HostKey
from pinwheel.deploy.rolling.execute import Conclusion, Report
from pinwheel.deploy.rolling.host_keys import Introduced

Found = Mapping[str, tuple[Survey, Surveyed] | Outcome]

PLAN_COLUMNS = ("host", "now", "wanted", "prepare", "activate", "why")
REPORT_COLUMNS = ("host", "outcome", "release", "reason")


TOUCHED = {Ending.ACTIVATED, Ending.RESTARTED, Ending.TAKEN_BACK, Ending.STAYED}
"""What a host cannot have ended as of which nothing was touched."""

KEY_KINDS = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ssh-dss": "DSA"}
"""What ssh-keygen calls kinds of keys; all others are ECDSA."""


def plan_document(plan: Plan, environment: str) -> dict[str, Any]:
    """What `deploy.rollout --plan` takes, and the conf diffs."""
    document = plan_file.document(plan, environment)
    for host, each in zip(document["hosts"], plan.hosts, strict=True):
        host["conf_diff"] = each.conf_diff
    return document


def plan_exit(plan: Plan) -> int:
    """What a plan exits with: 1 when there is a host with which it cannot go on, 4 for changes, else 0."""
    return 1 if plan.blocked else 4 if plan.changes else 0


def plan_rows(plan: Plan) -> list[tuple[str, ...]]:
    rows = [_plan_row(each) for each in plan.hosts]
    return rows + [(each.host, "?", plan.wish.release, "", "", one_line(each)) for each in plan.blocked]


def plan_notes(plan: Plan) -> list[str]:
    """What the table has no room for: the waves, and each conf diff once with the hosts that it is for."""
    notes = []
    if plan.waves:
        notes.append("order: " + " → ".join(", ".join(wave) for wave in plan.waves))
    have_turn = {host for wave in plan.waves for host in wave}
    if left := [each.host for each in plan.hosts if each.activate and each.host not in have_turn]:
        notes.append(f"no turn for {named(left)}: {plan.service.full(plan.policy)}")
    makings: dict[str, list[str]] = {}
    for each in plan.hosts:
        if each.builds:
            makings.setdefault(f"{each.making.how}: {each.making.why}", []).append(each.host)
    notes += [f"prepare {', '.join(hosts)} by {why}" for why, hosts in makings.items()]
    notes += [_task_note(each) for each in plan.tasks]
    diffs: dict[str, list[str]] = {}
    for each in plan.hosts:
        if each.conf_diff:
            diffs.setdefault(each.conf_diff, []).append(each.host)
    for diff, hosts in diffs.items():
        notes.append(f"conf on {', '.join(hosts)}:\n" + "\n".join(f"  {line}" for line in diff.splitlines()))
    return notes


def _task_note(task: PlannedTask) -> str:
    time = {"before": "before the first activation", "after": "after the last activation"}[task.when]
    so_far = {
        "": "",
        "failed": "; it failed there before",
        "running": "; it began there, and nobody knows how it ended",
    }
    return f"task {task.name}: once, on {task.host}, {time}{so_far[task.so_far]}"


def run_document(
    exits: Mapping[str, int | Outcome], env: str, application: str, words: Sequence[str]
) -> dict[str, Any]:
    hosts = [
        {"name": name, "exit": None, "reason": each.reason, "remedy": each.remedy}
        if isinstance(each, Outcome)
        else {"name": name, "exit": each, "reason": "", "remedy": ""}
        for name, each in exits.items()
    ]
    return {"environment": env, "application": application, "command": list(words), "hosts": hosts}


def report_document(report: Report, plan: Plan) -> dict[str, Any]:
    return {
        "rollout": report.rollout,
        "act": plan.wish.act,
        "application": plan.wish.application,
        "version": plan.wish.version,
        "outcome": report.conclusion,
        "reason": report.reason,
        "hosts": [outcome_document(each) for each in report.outcomes],
    }


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.host,
        "outcome": outcome.ending,
        "release": outcome.release,
        "reason": outcome.reason,
        "drained": outcome.drained,
        "seconds": outcome.seconds,
    }


def report_rows(report: Report) -> list[tuple[str, ...]]:
    return [(each.host, each.ending, each.release or "-", _short(_reason(each))) for each in report.outcomes]


def next_step(report: Report, plan: Plan, scope: str) -> str:
    """How it ended, and what to do now: a few sentences. `scope` is the environment and what it was limited to, as on
    the command line."""
    drained = [each.host for each in report.outcomes if each.drained]
    stayed = [each.host for each in report.outcomes if each.ending is Ending.STAYED]
    more = []
    if stayed:
        back = f"pinwheel deploy.rollback {plan.wish.application} --env {scope}"
        more.append(f"{named(stayed)} should have gone back and did not: {back}")
    if drained:
        it = "it is" if len(drained) == 1 else "they are"
        resume = f"pinwheel deploy.resume --env {scope} --application {plan.wish.application}"
        more.append(f"Still out of service: {named(drained)}. Once {it} healthy: {resume}")
    return ". ".join([_ending(report, plan, scope), *more])


def _ending(report: Report, plan: Plan, scope: str) -> str:
    again, look = _again(plan, scope), f"pinwheel deploy.status --env {scope}"
    match report.conclusion:
        case Conclusion.DONE:
            hosts = "1 host" if len(report.outcomes) == 1 else f"{len(report.outcomes)} hosts"
            if plan.wish.act == "restart":
                return f"done: {plan.wish.application} began anew on {hosts}"
            return f"done: {plan.wish.application} {plan.wish.version} runs on {hosts}"
        case Conclusion.FENCED:
            return f"stopped: {report.reason}. See who is at work: {look}"
        case Conclusion.INTERRUPTED:
            return f"stopped: {report.reason}. To go on: {again}"
        case Conclusion.FAILED:
            return f"not everywhere: {report.reason}. When these hosts are well again: {again}"
    endings = {each.ending for each in report.outcomes}
    taken = [each.host for each in report.outcomes if each.ending is Ending.TAKEN_BACK]
    reason = report.reason + (f"; {named(taken)} went back too" if taken else "")
    back = next((each for each in report.outcomes if each.ending in (Ending.REVERTED, Ending.REMOVED)), None)
    if Ending.UNHEALTHY in endings:
        todo = f"Look at that host first: {look}"
    elif back:
        todo = back.remedy[:1].upper() + back.remedy[1:]
    elif Ending.UNKNOWN in endings:
        todo = f"See how it ended there: {look}"
    else:
        rest = "" if endings & TOUCHED else "Nothing that runs was touched. "
        return f"halted: {reason}. {rest}Put that right, then: {again}"
    # what did not pass is not rolled out once more as it is, but it may be gone back to: it was good before
    return f"halted: {reason}. {todo}" + (f", then: {again}" if plan.wish.delivery is None else "")


def _again(plan: Plan, scope: str) -> str:
    """The command that goes on where this one stopped."""
    wish = plan.wish
    if wish.act == "restart":
        return f"pinwheel deploy.restart {wish.application} --env {scope}"
    if wish.act == "resume":
        return f"pinwheel deploy.resume --env {scope} --application {wish.application}"
    if wish.delivery is not None:
        return f"pinwheel deploy.rollout {wish.application}=={wish.version} --env {scope}"
    # of two locks of one version, the version alone would name the newer one
    locks = {each.current for each in plan.hosts if each.current and each.current.startswith(f"{wish.version}-")}
    to = wish.release if locks - {wish.release} else wish.version
    return f"pinwheel deploy.rollback {wish.application} --to {to} --env {scope}"


def outcome_lines(outcome: Outcome) -> list[str]:
    """A host's ending, and what a person needs to see of it."""
    took = f" in {outcome.seconds:.1f} s" if outcome.seconds >= 0.05 else ""
    reason = _reason(outcome)
    lines = [f"  {outcome.host}: {outcome.ending}{took}{': ' if reason else ''}{reason}"]
    lines += [f"    | {line}" for line in outcome.shown.splitlines()]
    if outcome.remedy and not outcome.good:
        lines.append(f"    remedy: {outcome.remedy}")
    return lines


def _reason(outcome: Outcome) -> str:
    drained = f"out of service: {outcome.drained}" if outcome.drained else ""
    return "; ".join(filter(None, [outcome.reason, drained]))


def survey_lines(found: Found) -> list[str]:
    """What there is to do to make each host ready, and why."""
    lines: list[str] = []
    for name, each in found.items():
        if isinstance(each, Outcome):
            told = (("where", each.shown), ("remedy", each.remedy))
            lines += [f"{name}: {each.reason}", *(f"  {label}: {text}" for label, text in told if text)]
        else:
            work = each[1].work
            lines.append(f"{name}: {'to do' if work else 'nothing to do'}")
            lines += [f"  {one.what} ({one.why})" for one in work]
    return lines


def survey_notes(found: Found) -> list[str]:
    """What an operator should know of hosts, each once with the hosts that it is about."""
    notes: dict[str, list[str]] = {}
    for name, each in found.items():
        for note in () if isinstance(each, Outcome) else each[1].notes:
            notes.setdefault(note, []).append(name)
    return [f"{', '.join(names)}: {note}" for note, names in notes.items()]


def bootstrap_lines(done: Mapping[str, Readied | Outcome]) -> list[str]:
    """What has become of that."""
    lines: list[str] = []
    for name, each in done.items():
        if isinstance(each, Outcome):
            lines += [f"{name}: {each.reason}", *([f"  remedy: {each.remedy}"] if each.remedy else [])]
            continue
        lines.append(f"{name}: {'ready' if not each.lacks else 'not ready yet, it lacks'}")
        for lack in each.lacks:
            place = f" ({lack.where})" if lack.where not in ("", name) else ""
            lines.append(f"  {lack.what}: {lack.problem}{place}")
            lines += [f"    remedy: {lack.remedy}"] if lack.remedy else []
    return lines


def bootstrap_document(found: Found, done: Mapping[str, Readied | Outcome], environment: str) -> dict[str, Any]:
    """`done` is empty when it was only a question."""
    hosts: list[dict[str, Any]] = []
    for name, asked in found.items():
        became = asked if isinstance(asked, Outcome) else done.get(name)
        plan = () if isinstance(asked, Outcome) else asked[1].work
        lacks = became.lacks if isinstance(became, Readied) else ()
        hosts.append(
            {
                "name": name,
                "outcome": _readiness(became, bool(plan)),
                "reason": became.reason
                if isinstance(became, Outcome)
                else "; ".join(f"{each.what}: {each.problem}" for each in lacks),
                "plan": [{"what": each.what, "why": each.why} for each in plan],
                "changes": list(became.done) if isinstance(became, Readied) else [],
                "missing": [
                    {"what": each.what, "problem": each.problem, "where": each.where, "remedy": each.remedy}
                    for each in lacks
                ],
                "notes": [] if isinstance(asked, Outcome) else list(asked[1].notes),
            }
        )
    return {"environment": environment, "hosts": hosts}


def _readiness(became: Readied | Outcome | None, work: bool) -> str:
    """How a host stands after a bootstrap, or after the question (None) whether there is `work`."""
    if isinstance(became, Outcome):
        return became.ending
    lacking = became.lacks if became else work
    return "not ready" if lacking else Ending.READY


def key_lines(keys: Mapping[HostKey, Sequence[str]]) -> list[str]:
    """Keys as `ssh-keygen -lf` shows them, with the hosts that are behind each."""
    lines = []
    for key, names in keys.items():
        lines.append(f"{key.bits} {key.fingerprint} {key.name} ({KEY_KINDS.get(key.kind, 'ECDSA')})")
        lines.append(f"  for {', '.join(names)}")
    return lines


def keys_document(made: Introduced, environment: str, file: str) -> dict[str, Any]:
    def told(key: HostKey) -> dict[str, Any]:
        about = {"name": key.name, "type": key.kind, "bits": key.bits, "fingerprint": key.fingerprint}
        return {**about, "hosts": list(made.unknown.get(key, ()))}

    return {
        "environment": environment,
        "known_hosts": file,
        "known": list(made.known),
        "added": [told(key) for key in made.added],
        "unknown": [told(key) for key in made.unknown],
        "failed": [
            {"name": name, "reason": error.problem, "remedy": error.remedy} for name, error in made.failed.items()
        ],
    }


def _plan_row(each: HostPlan) -> tuple[str, ...]:
    yes = {True: "yes", False: "-"}
    return (
        each.host,
        each.current or "-",
        each.wanted,
        _making(each),
        yes[each.activate is not None],
        each.why,
    )


def _making(each: HostPlan) -> str:
    """How the release comes to be there, and how much moves for that."""
    making = each.making
    if making.how is How.THERE:
        return "-"
    how = f"{making.how} of {making.base}" if making.how is How.CLONE else making.how
    deliver = "pushed" if each.prepare.deliver == "push" else "fetched"
    return f"{how}, {_size(making.bytes)} {deliver}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB" if size_bytes >= MIB / 10 else f"{-(-size_bytes // 1024)} KiB"


def one_line(outcome: Outcome) -> str:
    return f"{outcome.reason}; {outcome.remedy}" if outcome.remedy else outcome.reason


def _short(text: str, length: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
