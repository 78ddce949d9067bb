"""The tasks for API tokens."""

from __future__ import annotations

from typing import Any

from invoke import task

from pinwheel.errors import PinwheelError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP, duration_s, listed


@task(
    positional=["name"],
    iterable=["scope"],
    help={
        "name": "what the token is for; must be new",
        "scope": "what it may do: read, upload, promote, deploy or admin; each may say for which projects and where: "
        "upload:acme-*, deploy:acme-*@prod-* (may be repeated, or with commas; needed)",
        "projects": "globs of projects for the scopes that name none, with commas (default: *)",
        "environments": "globs of environments for the scopes that name none, with commas (default: *)",
        "expires": "how long it is valid: 90d, 12h, 30m, 45s, at most 100 years (default: for ever)",
        "data": DATA_HELP,
    },
)
def token_create(
    _context: Any,
    name: str,
    scope: Any = None,
    projects: str = "*",
    environments: str = "*",
    expires: str = "",
    data: str = DATA,
) -> None:
    """Make an API token; it is printed once, alone on stdout, and stored only as a hash.

    Works on the data folder itself, also while the server runs; makes the folder when it is not there. Clients use
    it as the password of the user `__token__`, or in PINWHEEL_TOKEN.

    Example:
        pinwheel index.token-create ci --scope 'read,upload:acme-*' --expires 90d
    """
    import time
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.credentials.access import new_token
    from pinwheel.index.globs import checked
    from pinwheel.index.grants import granted
    from pinwheel.index.server.assembly import now, stored

    secret, token = new_token(
        name,
        granted(listed(",".join(scope or ())), checked(listed(projects), "--projects"), listed(environments)),
        created_at=now(),
        expires_at=time.time() + duration_s(expires, "--expires") if expires else None,
    )
    index = stored(Path(data), create=True)
    try:
        if not index.tokens.add(token):
            raise PinwheelError(
                f"there is a token named {name} already",
                where=data,
                remedy="choose another name; names of revoked tokens stay taken",
            )
    finally:
        index.close()
    console.data(secret)


@task(help={"data": DATA_HELP, "json": JSON_HELP})
def token_list(_context: Any, data: str = DATA, json: bool = False) -> None:
    """List the API tokens: what each may do, until when, and when it was used last (to the minute).

    Example:
        pinwheel index.token-list --data /srv/index
    """
    import time
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.server.assembly import stamp, stored

    index = stored(Path(data))
    try:
        found = index.tokens.every()
    finally:
        index.close()

    def state(expires_at: float | None, revoked_at: str) -> str:
        if revoked_at:
            return "revoked"
        return "expired" if expires_at is not None and expires_at <= time.time() else "valid"

    rows: list[dict[str, Any]] = [
        {
            "name": token.name,
            "state": state(token.expires_at, token.revoked_at),
            "grants": [grant.document() for grant in token.grants],
            "created_at": token.created_at,
            "expires_at": stamp(token.expires_at) if token.expires_at is not None else None,
            "last_used_at": token.last_used_at or None,
        }
        for token in found
    ]
    if json:
        console.document({"tokens": rows})
    else:
        console.table(
            ("name", "state", "grants", "expires_at", "last_used_at"),
            [
                [
                    *(token.name, row["state"], ",".join(map(str, token.grants))),
                    *(row["expires_at"] or "never", row["last_used_at"] or "never"),
                ]
                for row, token in zip(rows, found, strict=True)
            ],
        )


@task(
    positional=["name"],
    help={
        "name": "the token's name",
        "keep": "how long the old one stays valid beside the new one: 1h, 7d (default: it ends at once)",
        "data": DATA_HELP,
    },
)
def token_rotate(_context: Any, name: str, keep: str = "", data: str = DATA) -> None:
    """Replace an API token by a new one that may do the same; it is printed once, alone on stdout.

    The old one ends at once, and the tokens that it has minted with it. With --keep it stays valid for a while, so that
    its users can change over one by one, and what it has minted stays valid.

    Example:
        pinwheel index.token-rotate ci --keep 1h
    """
    import time
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.credentials.access import hashed, new_secret
    from pinwheel.index.server.assembly import now, stored

    secret = new_secret()
    old_until = time.time() + (duration_s(keep, "--keep") if keep else 0.0)
    index = stored(Path(data))
    try:
        done = index.tokens.rotate(name, hashed(secret), old_until, minted_end="" if keep else now())
    finally:
        index.close()
    if not done:
        raise _no_such_token(name, data)
    console.data(secret)


@task(positional=["name"], help={"name": "the token's name", "data": DATA_HELP})
def token_revoke(_context: Any, name: str, data: str = DATA) -> None:
    """End an API token and every token that it has minted, at once.

    Example:
        pinwheel index.token-revoke ci
    """
    from pathlib import Path

    from pinwheel.console import say
    from pinwheel.index.server.assembly import now, stored

    index = stored(Path(data))
    try:
        done = index.tokens.revoke(name, now())
    finally:
        index.close()
    if not done:
        raise _no_such_token(name, data)
    say(f"revoked {name}")


def _no_such_token(name: str, data: str) -> PinwheelError:
    return PinwheelError(
        f"there is no valid token named {name}", where=data, remedy="`pinwheel index.token-list` shows the names"
    )
