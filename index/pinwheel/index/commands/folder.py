"""The tasks that look after the data folder."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from invoke import Exit, task

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP

if TYPE_CHECKING:
    from pinwheel.console import Counted

CHANGES = 4
"""The exit code of a plan that has changes."""


@task(
    positional=["file"],
    help={"file": "a new file for the backup, a tar", "data": DATA_HELP, "json": JSON_HELP},
)
def backup(_context: Any, file: str, data: str = DATA, json: bool = False) -> None:
    """Write everything that the index is made of to one file. Safe while the server runs.

    The file is for its owner alone. It holds one moment: uploads that come while it is written are in the next one.
    Not in it: what came from upstreams, the password file, pinwheel.toml, certificates.

    Example:
        pinwheel index.backup /srv/backups/index-monday.tar --data /srv/index
    """
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.server.assembly import now, stored
    from pinwheel.index.upkeep.backup import write_backup

    index = stored(Path(data))
    try:
        with contextlib.ExitStack() as shown:
            progress = _Progress(shown, f"writing {file}")
            done = write_backup(
                Path(file),
                database=index.database,
                blobs=index.blobs,
                temporary=index.temporary,
                at=now(),
                begun=progress.begin,
                written=progress.advance,
            )
    finally:
        index.close()
    if json:
        faults = [{"what": what, "problem": problem} for what, problem in done.faults]
        console.document({"file": file, "blobs": done.blobs, "size": done.size_bytes, "faults": faults})
    if done.faults:
        raise PinwheelError(
            f"the backup is written, but {len(done.faults)} blobs of the index are missing or damaged",
            where=data,
            remedy="`pinwheel index.verify` names the files; upload them again, then make another backup",
        )
    console.say(f"wrote {file}: {done.blobs} blobs, {done.size_bytes} bytes")


@task(
    positional=["file"],
    iterable=["private"],
    help={
        "file": "what `index.backup` wrote",
        "data": f"the new data folder, empty or not there yet (default: ./{DATA})",
        "private": "name published after the backup, kept from upstreams (may be repeated; default: none)",
        "revoke_tokens": "let no token of the backup be valid (default: they work as they did then)",
        "json": JSON_HELP,
    },
)
def restore(
    _context: Any, file: str, data: str = DATA, private: Any = None, revoke_tokens: bool = False, json: bool = False
) -> None:
    """Make a data folder of a backup, on this machine or another.

    Tokens, events and leases come back too. What happened after the backup is lost. Names that were published since
    are public again, so give them with --private, or cover them in index.private. Tokens that were revoked or replaced
    since are valid again, so revoke them again, or all with --revoke-tokens. What was yanked, removed, demoted or put
    in quarantine since is as it was before.

    Example:
        pinwheel index.restore /srv/backups/index-monday.tar --data /srv/index
    """
    import time
    from pathlib import Path

    from packaging.utils import canonicalize_name, is_normalized_name

    from pinwheel import console
    from pinwheel.index.server.assembly import stamp
    from pinwheel.index.upkeep.restoring import restore as make

    names = tuple(map(canonicalize_name, private or ()))
    for name in names:
        if not is_normalized_name(name):
            raise UsageError(
                f"{name!r} is no name of a project", where="--private", remedy="globs go into index.private"
            )
    now_s = time.time()
    with contextlib.ExitStack() as shown:
        progress = _Progress(shown, f"reading {file}")
        done = make(
            Path(file),
            Path(data),
            now_s=now_s,
            at=stamp(now_s),
            private=names,
            revoke_tokens=revoke_tokens,
            begun=progress.begin,
            read=progress.advance,
        )
    if json:
        console.document(
            {
                "data": data,
                "at": done.manifest.at,
                "blobs": done.manifest.blobs,
                "damaged": list(done.damaged),
                "tokens": list(done.tokens),
            }
        )
    console.say(f"restored {data} as of {done.manifest.at}: {done.manifest.blobs} blobs")
    console.say("names that were first published after that are public again: --private, or index.private, keeps them")
    console.say("what was yanked, removed, demoted or put in quarantine after that is as it was before")
    if done.tokens:
        console.say(
            f"{len(done.tokens)} tokens are valid, also those that were revoked or replaced after that: "
            f"{', '.join(done.tokens)}"
        )
        console.say("end such a one with `pinwheel index.token-revoke`; --revoke-tokens ends all")
    if done.damaged:
        raise PinwheelError(
            f"the index is restored, but {len(done.damaged)} blobs are damaged in the backup",
            where=file,
            remedy="`pinwheel index.verify` names the files; upload them again",
        )


@task(
    help={
        "data": DATA_HELP,
        "dry_run": "only say what would go; exit 4 if anything (default: no)",
        "json": JSON_HELP,
    },
)
def prune(_context: Any, data: str = DATA, dry_run: bool = False, json: bool = False) -> None:
    """Remove the releases that the rules in `index.retention` of pinwheel.toml do not keep. Safe while the server runs.

    Never goes: the newest release of a project, what is promoted to a channel, what runs in an environment or ran
    before that (by the deploy events that this index has), and what a lock of these pins. Names of removed files stay
    taken.

    Example:
        pinwheel index.prune --dry-run --data /srv/index
    """
    import time
    from pathlib import Path

    from pinwheel import config, console
    from pinwheel.index.server.assembly import now, stored
    from pinwheel.index.store.curating import Curator
    from pinwheel.index.upkeep.pruning import Ground, plan
    from pinwheel.index.upkeep.pruning import prune as carry_out
    from pinwheel.index.upkeep.retention import Rules

    loaded = config.load()
    retention = loaded.config.index.retention
    rules = Rules(retention.keep_releases, retention.keep_days, retention.development_days)
    if not rules.limits:
        raise UsageError(
            "there is no rule by which anything may go",
            where=f"{loaded.file or 'pinwheel.toml'}: index.retention",
            remedy="set keep_releases or development_days; examples/pinwheel.toml explains them",
        )
    index = stored(Path(data))
    try:
        ground = Ground(index.records, index.releases, index.events, index.attachments, index.blobs, time.time)
        made = plan(ground, rules)
        removed = list(made.remove)
        if not dry_run:
            curator = Curator(index.releases, index.records, index.blobs, now, lambda _project: None)
            with console.counted("pruning", len(removed), "releases") as progress:
                removed = []
                for each in carry_out(ground, curator, rules):
                    removed.append(each)
                    progress.advance()
    finally:
        index.close()
    if json:
        console.document(
            {
                "dry_run": dry_run,
                "removed": [{"name": each.project, "version": each.version} for each in removed],
                "spared": [{"name": one.project, "version": one.version, "reason": why} for one, why in made.spared],
            }
        )
    else:
        for each in removed:
            console.data(f"{each.project} {each.version}")
        for spared, why in made.spared:
            console.say(f"kept {spared.project} {spared.version}: {why}")
    console.say(f"{len(removed)} releases {'would go' if dry_run else 'removed'}, {len(made.spared)} spared")
    if dry_run and removed:
        raise Exit(code=CHANGES)


class _Progress:
    """Counted work whose size is known only once it has begun."""

    def __init__(self, shown: contextlib.ExitStack, title: str) -> None:
        self._shown = shown
        self._title = title
        self._counted: Counted | None = None

    def begin(self, total: int) -> None:
        from pinwheel import console

        self._counted = self._shown.enter_context(console.counted(self._title, total, "blobs"))

    def advance(self) -> None:
        if self._counted is not None:
            self._counted.advance()
