"""What somebody wants of an application, read from the configuration, the index and the secrets' sources."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pinwheel import pin
from pinwheel.deploy.inventory import fleet, settings
from pinwheel.deploy.planning import supervisor_file
from pinwheel.deploy.planning.wish import Delivery, Wish
from pinwheel.deploy.rolling import fetch, secret_sources
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import UsageError


def wish(session: Session, text: str) -> tuple[Wish, Collection[str]]:
    """What `APP==VER` says, and the hosts that it is for. Raises `UsageError`, and `Interrupted`."""
    name, wanted = pin.parse(text)
    application = fleet.application(session.loaded.config, name)
    project = application.project or name
    session.placed(name)  # what cannot be is an error now
    found = fetch.locked(session.client, project, str(wanted))
    lock, version = found.lock, found.version
    commit, signer = found.commit, ""
    if settings.demanded(session.loaded.config, session.name) != "no":
        from pinwheel.deploy.rolling import evidence  # with all that reads statements: most rollouts need none of it

        origin = evidence.require(session.client, project, lock.pins, evidence.judge(session.loaded, session.name))
        commit, signer = origin.commit, origin.signer
    session.hooks(name, version)  # so is a hook that cannot be
    session.announced()
    with session.located():
        application = settings.settled(name, application, session.name, session.environment)
        kept = secret_sources.secret_set(session.loaded, session.name, name, application)
    session.secrets = {**session.secrets, **({name: kept} if kept else {})}
    secrets, names = (kept.id, kept.names) if kept else ("", ())
    placed = session.placed(name, application)
    with session.located():
        setups = supervisor_file.setups(name, placed, session.targets, lock.release, version, secrets)
    made = Wish(
        application=name,
        project=project,
        version=version,
        release=lock.release,
        delivery=Delivery(setups, lock.packages, lock.requires_python, session.environment.deliver, secrets, names),
        lock_sha256=lock.sha256,
        commit=commit,
        signer=signer,
    )
    return made, setups


def check_tasks(named: Iterable[str], wanted: Wish) -> None:
    """Refuse words about tasks that there are not. Raises `UsageError`."""
    delivery = wanted.delivery
    known = {task.name for setup in delivery.setups.values() for task in setup.tasks} if delivery else set()
    for name in sorted({*named} - known):
        known_text = ", ".join(sorted(known)) or "none"
        raise UsageError(f"there is no task {name!r}", where="--task-done, --task-again", remedy=f"known: {known_text}")
