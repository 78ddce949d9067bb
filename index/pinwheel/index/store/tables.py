"""The schema of the index's database: tables and nothing else. Text times are RFC 3339 in UTC.

Nothing was ever migrated yet: whoever changes a table raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table

SCHEMA_VERSION = 3

schema = MetaData()

meta = Table(
    "meta",
    schema,
    Column("key", String, primary_key=True),  # schema; epoch: when the database was made or last restored
    Column("value", String, nullable=False),
)

counters = Table(
    "counters",
    schema,
    # files: changes of what is offered; access: changes of who may do what; events: recorded events
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

projects = Table(
    "projects",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),  # normalised
    Column("serial", BigInteger, nullable=False, index=True),  # counters.files at its last change
    Column("created_at", String, nullable=False),
    Column("status", String, nullable=False),  # PEP 792
    Column("status_reason", String, nullable=False),
)

releases = Table(
    "releases",
    schema,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("version", String, nullable=False),  # canonical: 1.0 and 1.0.0 are one release
    Column("yanked", String),  # the reason; NULL when it is not yanked
    Index("releases_of_project", "project_id", "version", unique=True),
)

files = Table(
    "files",
    schema,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False, index=True),
    Column("release_id", ForeignKey("releases.id"), nullable=False, index=True),
    Column("filename", String, nullable=False, unique=True),
    Column("identity", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("version", String, nullable=False),  # as the file itself says it
    Column("sha256", String, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("metadata_sha256", String, index=True),
    Column("requires_python", String, nullable=False),
    Column("upload_time", String, nullable=False),
    Column("uploader", String, nullable=False),
    Column("removed_at", String),  # a removed file keeps its row: its name never comes back
    Column("removed_by", String),
)

channel_files = Table(
    "channel_files",
    schema,
    Column("channel", String, primary_key=True),  # never main, where every file is
    Column("file_id", ForeignKey("files.id"), primary_key=True, index=True),
    Column("promoted_at", String, nullable=False),
    Column("promoted_by", String, nullable=False),
)

dirty = Table(
    "dirty",
    schema,
    Column("project", String, primary_key=True),  # empty: the pages that list the projects
    Column("serial", BigInteger, nullable=False),  # counters.files at the change that was not rendered yet
)

imports = Table(
    "imports",
    schema,
    Column("path", String, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
)

tokens = Table(
    "tokens",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("hash", String, nullable=False, unique=True),  # sha256 of 256 random bits needs no slow hash
    Column("old_hash", String, unique=True),  # of what was there before the last rotation, which is valid ...
    Column("old_until", Float),  # ... until then
    Column("created_at", String, nullable=False),
    Column("expires_at", Float),
    Column("last_used_at", String),
    Column("revoked_at", String),
    Column("parent", String, nullable=False, index=True),
)

grants = Table(
    "grants",
    schema,
    Column("token_id", ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("scope", String, nullable=False),
    Column("projects", String, nullable=False),  # globs, with commas
    Column("environments", String, nullable=False),
)

leases = Table(
    "leases",
    schema,
    Column("environment", String, primary_key=True),
    Column("token", BigInteger, nullable=False),  # the row outlives the lease, so that the token only ever grows
    Column("owner", String, nullable=False),
    Column("rollout", String, nullable=False),
    Column("acquired_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

events = Table(
    "events",
    schema,
    Column("serial", BigInteger, primary_key=True, autoincrement=False),  # counters.events
    Column("id", String, nullable=False, unique=True),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("environment", String, nullable=False),
    Column("document", String, nullable=False),
    Index("events_by_subject", "subject", "serial"),
    Index("events_by_environment", "environment", "serial"),
)

attachments = Table(
    "attachments",
    schema,
    Column("id", Integer, primary_key=True),
    Column("project", String, nullable=False),
    Column("version", String, nullable=False),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("at", String, nullable=False),
    Column("uploader", String, nullable=False),
    Index("attachments_by_version", "project", "version", "name"),
)
