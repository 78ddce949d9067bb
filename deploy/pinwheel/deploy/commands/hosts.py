"""`pinwheel deploy.bootstrap`: hosts made ready."""

from __future__ import annotations

from invoke import Context, Exit, task

from pinwheel.deploy.commands.options import CHANGES, ENV, JSON, session_of


@task(
    auto_shortflags=False,
    help={"env": ENV, "check": "only say what would be done; exit 4 if anything (default: do it)", "json": JSON},
)
def bootstrap(_context: Context, env: str, check: bool = False, json: bool = False) -> None:
    """Make hosts ready: folders, uv from the index, a supervisor that answers.

    Needs sshd and python3 on each host, and sudo where the layout asks for it. What is there stays as it is; a second
    run finds nothing to do.

    Example:
      pinwheel deploy.bootstrap --env production --check
      pinwheel deploy.bootstrap --env production
    """
    from pinwheel import console
    from pinwheel.deploy.planning.gate import Outcome
    from pinwheel.deploy.rolling import operate
    from pinwheel.deploy.showing import present

    with session_of(env, "bootstrap") as session:
        done = operate.bootstrapped(session, check=check)
    if json:
        console.document(present.bootstrap_document(done, env))
    else:
        for name, changes in done.items():
            if isinstance(changes, Outcome):
                told = (("where", changes.shown), ("remedy", changes.remedy))
                more = [f"  {label}: {text}" for label, text in told if text]
                console.data("\n".join([f"{name}: {changes.reason}", *more]))
            else:
                console.data(f"{name}: {'; '.join(changes) or 'nothing to do'}")
    if any(isinstance(changes, Outcome) for changes in done.values()):
        raise Exit(code=session.stop.exit_code if session.stop.is_set() else 1)
    if check and any(done.values()):
        raise Exit(code=CHANGES)
