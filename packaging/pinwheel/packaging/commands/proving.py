"""`pinwheel packaging.explain`: where released files come from."""

from __future__ import annotations

from invoke import Context, task

from pinwheel.packaging.commands.options import JSON, client_of


@task(auto_shortflags=False, help={"pin": "a version in the index, as in acme-shop==1.2.0"} | JSON)
def explain(_context: Context, pin: str, json: bool = False) -> None:
    """Say where a version's files come from: repository, tag, commit, build environment, as their statements do.

    Example:
      pinwheel packaging.explain acme-shop==1.2.0
    """
    from pinwheel import config, console
    from pinwheel.packaging import lock as locking
    from pinwheel.packaging import statement, vendored
    from pinwheel.packaging.publish import origins
    from pinwheel.packaging.vendor import vendored_at

    client = client_of(config.load())
    project, version = locking.parse_pin(pin)
    locking.check_released(client, project, version)
    there = origins(client, project, str(version))
    known = [statement.Statement(n, file.sha256, file.provenance) for n, file in there.items() if file.provenance]
    unknown = [name for name, file in there.items() if not file.provenance]
    taken = [each for name in unknown if (each := vendored_at(client, project, str(version), name))]
    unknown = [name for name in unknown if name not in {each.filename for each in taken}]
    if json:
        console.document(
            {
                "statements": [statement.document(each) for each in known]
                + [vendored.document(each) for each in taken],
                "without": unknown,
            }
        )
        return
    for facts in [*map(statement.facts, known), *map(vendored.facts, taken)]:
        for label, text in facts:
            console.data(f"{label}: {text}")
        console.data("")
    for name in unknown:
        console.data(f"{name}: has no statement; it was not built by packaging.release")
