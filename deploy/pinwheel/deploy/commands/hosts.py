"""`pinwheel deploy.bootstrap`: hosts made ready, and their keys made known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from pinwheel.deploy.commands.options import CHANGES, OF_HOSTS, session_of
from pinwheel.errors import UsageError

if TYPE_CHECKING:
    from pinwheel.deploy.reaching.hosts import HostKey
    from pinwheel.deploy.rolling.host_keys import Confirm
    from pinwheel.deploy.rolling.session import Session


@task(
    iterable=["host", "group", "accept"],
    help={
        **OF_HOSTS,
        "check": "only say what would be done; exit 4 if anything (default: do it)",
        "scan_host_keys": "do nothing but show the keys of hosts that are not known yet, and add those that you "
        "confirm to known_hosts (default: keys must be known already)",
        "accept": "a fingerprint (SHA256:...) that you know to be right, instead of the question; may be repeated "
        "(default: ask on a terminal; elsewhere add none and exit 4)",
    },
)
def bootstrap(
    _context: Context,
    env: str,
    check: bool = False,
    scan_host_keys: bool = False,
    accept: Sequence[str] | None = None,
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Make hosts ready: folders, users, uv from the index, a supervisor that answers. Says first what it will do.

    Needs sshd and python3 on each host, and sudo where the layout asks for it. What is there stays as it is; a second
    run finds nothing to do. Exits 1 when a host is not ready; the others are made ready all the same.

    Example:
      pinwheel deploy.bootstrap --env production --scan-host-keys
      pinwheel deploy.bootstrap --env production --check
      pinwheel deploy.bootstrap --env production
    """
    if accept and not scan_host_keys:
        raise UsageError("nothing is accepted", where="--accept", remedy="it belongs to --scan-host-keys")
    if scan_host_keys:
        with session_of(env, "host keys", host, group, live=False) as session:
            _introduce(session, accept or (), json)
        return
    with session_of(env, "bootstrap", host, group) as session:
        _bootstrap(session, check, json)


def _bootstrap(session: Session, check: bool, json: bool) -> None:
    from pinwheel import console
    from pinwheel.deploy.planning.outcome import Outcome
    from pinwheel.deploy.planning.readiness import Readied
    from pinwheel.deploy.rolling import bootstrap as verb
    from pinwheel.deploy.showing import readiness

    found = verb.surveyed(session)
    work = any(not isinstance(each, Outcome) and each[1].work for each in found.values())
    if not json:
        console.data("\n".join(readiness.survey_lines(found)))
    for note in readiness.survey_notes(found):
        console.say(note)
    done: Mapping[str, Readied | Outcome] = {} if check else verb.bootstrapped(session, found)
    if json:
        console.document(readiness.document(found, done, session.name))
    elif done:
        console.data("\n".join(readiness.lines(done)))
    lacking = any(isinstance(each, Readied) and each.lacks for each in done.values())
    if lacking or any(isinstance(each, Outcome) for each in (*found.values(), *done.values())):
        raise Exit(code=session.stop.exit_code if session.stop.is_set() else 1)
    if check and work:
        raise Exit(code=CHANGES)


def _introduce(session: Session, accept: Sequence[str], json: bool) -> None:
    from pinwheel import console
    from pinwheel.deploy.rolling import host_keys
    from pinwheel.deploy.showing import keys as shown

    names = [each.name for each in session.targets]
    file = session.environment.known_hosts or "~/.ssh/known_hosts"
    made = host_keys.introduce(session.hosts, names, session.environment.connections, _confirm(accept, file))
    if json:
        console.document(shown.document(made, session.name, file))
    else:
        for key in made.added:
            console.data(f"added to {file}: {key.name} {key.fingerprint}")
        for name, error in made.failed.items():
            console.data(f"{name}: {error.problem}\n  remedy: {error.remedy}")
        if made.unknown:
            console.say(
                "not added. Compare each with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), "
                "then name those that are right with --accept"
            )
        elif not made.added and not made.failed:
            console.data("every key is known")
    if strange := {*accept} - {key.fingerprint for key in (*made.added, *made.unknown)}:
        console.say(f"no host without a known key has {', '.join(sorted(strange))}")
    if made.failed:
        raise Exit(code=1)
    if made.unknown:
        raise Exit(code=CHANGES)


def _confirm(accept: Sequence[str], file: str) -> Confirm:
    """Trust the fingerprints that were named; without any, those that a person at the terminal says yes to."""
    from pinwheel import console
    from pinwheel.deploy.showing import keys as shown

    def confirm(keys: Mapping[HostKey, Sequence[str]]) -> Collection[HostKey]:
        for line in shown.lines(keys):
            console.say(line)
        if accept:
            return [key for key in keys if key.fingerprint in accept]
        if not console.somebody():
            return ()
        question = f"Are these the fingerprints of these hosts, and shall they be added to {file} (yes/no)?"
        return [*keys] if console.ask(question) == "yes" else ()

    return confirm
