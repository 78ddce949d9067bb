"""How the tasks that touch hosts end: what they print of a plan or a report, and what they exit with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Exit

if TYPE_CHECKING:
    from pinwheel.deploy.planning.plan import Plan
    from pinwheel.deploy.planning.report import Report
    from pinwheel.deploy.rolling.session import Session


def finish(made: Plan, report: Report, session: Session, *, json: bool = False, lines: bool = False) -> None:
    """Show how it ended, and exit with the code that says so."""
    from pinwheel import console
    from pinwheel.deploy.showing import reports

    if json:
        console.document(reports.document(report, made))
    elif lines:
        console.line({"event": "finished", **reports.document(report, made), "exit_code": report.exit_code})
    else:
        tell(made, report, session.scope)
    if report.exit_code:
        raise Exit(code=report.exit_code)


def tell(made: Plan, report: Report, scope: str) -> None:
    """Show how it ended, for people. `scope` is the environment and what it was limited to, as on the command line."""
    from pinwheel import console
    from pinwheel.deploy.showing import reports

    if not made.changes and not made.blocked and not report.exit_code:
        console.data(f"nothing to do: {made.wish.application} {made.wish.version} runs on every host")
        return
    console.table(reports.COLUMNS, reports.rows(report))
    console.say(reports.next_step(report, made, scope))


def show(made: Plan) -> None:
    """Show a plan, for people."""
    from pinwheel import console
    from pinwheel.deploy.showing import plans

    console.table(plans.COLUMNS, plans.rows(made))
    for note in plans.notes(made):
        console.data(note)
    if not made.changes and not made.blocked:
        console.say("nothing to do")
