"""The records of imports: which files of foreign folders were taken over, as they were then."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from pinwheel.index.intake.importing import Seen
from pinwheel.index.store.database import Database
from pinwheel.index.store.tables import imports


class DatabaseImports:
    """`importing.Memory` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remembered(self) -> dict[str, tuple[int, int]]:
        with self._database.reading() as connection:
            rows = connection.execute(select(imports.c.path, imports.c.size_bytes, imports.c.mtime_ns))
            return {row.path: (row.size_bytes, row.mtime_ns) for row in rows}

    def remember(self, taken: Iterable[tuple[Seen, str]]) -> None:
        rows = [
            {"path": seen.key, "size_bytes": seen.size_bytes, "mtime_ns": seen.mtime_ns, "sha256": sha256}
            for seen, sha256 in taken
        ]
        if rows:
            with self._database.writing() as connection:
                connection.execute(imports.delete().where(imports.c.path.in_([row["path"] for row in rows])))
                connection.execute(imports.insert(), rows)
