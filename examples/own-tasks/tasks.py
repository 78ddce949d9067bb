"""A deploy of one's own: all tasks of pinwheel, and `ship`, which asks questions of ours before and after a rollout.

It lies beside pinwheel.toml; docs/deploy-in-python.md goes through it. `inv ship acme-shop==1.1.0 --env prod` runs it.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from pinwheel import cli
from pinwheel.deploy.commands import finish, session_of
from pinwheel.errors import PinwheelError

if TYPE_CHECKING:
    from pinwheel.deploy.planning.plan import Plan
    from pinwheel.deploy.rolling.session import Session

FAILED = 1


@task(
    positional=["release"],
    help={
        "release": "APP==VER, an application and its version",
        "env": "the environment, as pinwheel.toml names it (default: prod)",
    },
)
def ship(_context: Context, release: str, env: str = "prod") -> None:
    """Roll out what was planned, unless we are frozen, and go back when visitors do not get it.

    Exits as deploy.rollout does, and with 1 when every host was healthy and visitors did not get the release.

    Example:
      inv ship acme-shop==1.1.0 --env prod
    """
    # here, so that `inv --list` does not wait for SSH libraries
    from pinwheel.deploy.planning import plan_file
    from pinwheel.deploy.rolling import operate

    with session_of(env, f"ship {release}") as session:
        refuse_when_frozen(session)
        planned = operate.planned(session, release)
        made, report = operate.rolled_out(session, release, plan_file.document(planned, session.name))
        wrong = [] if report.exit_code else wrongly_served(session, made)
        if wrong:
            session.watcher.said(f"visitors do not get {release} from {', '.join(wrong)}: going back")
            made, report = operate.rolled_back(session, made.wish.application, to="")
    finish(made, report, session)
    if wrong:
        raise Exit(code=FAILED)


def refuse_when_frozen(session: Session) -> None:
    """While a file FREEZE lies beside pinwheel.toml, nothing is shipped."""
    freeze = session.loaded.folder / "FREEZE"
    if freeze.exists():
        raise PinwheelError(
            f"nothing is shipped now: {freeze.read_text().strip()}", where=str(freeze), remedy="remove the file"
        )


def wrongly_served(session: Session, made: Plan) -> list[str]:
    """The hosts whose start page does not name the version that was rolled out."""
    wrong = []
    for target in session.targets:
        try:
            with urllib.request.urlopen(f"http://{target.address}:{target.variables['port']}/", timeout=5) as answer:
                served = made.wish.version in answer.read().decode()
        except (urllib.error.URLError, TimeoutError):
            served = False
        if not served:
            wrong.append(target.name)
    return wrong


namespace = cli.collection(ship)
