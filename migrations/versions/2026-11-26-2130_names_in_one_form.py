"""Names of users and keys in normal form C, as requests name them from now on.

Until now a name was kept as it was written, and a header was read as ISO 8859-1: a user who was named in UTF-8 there
was stored with each byte as a character ("JÃ¼rgen"). Both are put right, so that the user's data is found by the name.
Tombstones keep the hash of the old name of a key: the ids of its terminated sessions stay dead, answered as unknown.
"""

import hashlib
import unicodedata
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

Owner = tuple[str, str | None]
"""Principal and user."""

TABLES = ("sessions", "usage", "memories", "forgettings")


def upgrade() -> None:
    connection = op.get_bind()
    metadata = sa.MetaData()
    metadata.reflect(connection, only=[*TABLES, "memory_vectors"], resolve_fks=False)
    for name in TABLES:
        table = metadata.tables[name]
        owners = sa.select(table.c.principal, table.c.user_id).distinct()
        for principal, user_id in connection.execute(owners).all():
            renamed = _normal(principal), _as_meant(user_id)
            if renamed != (principal, user_id):
                _RENAME[name](connection, metadata, (principal, user_id), renamed)


def downgrade() -> None:
    """The names stay: the release before reads them, too."""


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _as_meant(name: str | None) -> str | None:
    if name is None or name.isascii():
        return name
    try:
        name = name.encode("latin-1").decode()
    except UnicodeError:
        pass
    return _normal(name)


def _of(table: sa.Table, owner: Owner) -> sa.ColumnElement[bool]:
    principal, user_id = owner
    return sa.and_(table.c.principal == principal, table.c.user_id.is_not_distinct_from(user_id))


def _rename(connection: sa.Connection, table: sa.Table, owner: Owner, renamed: Owner) -> None:
    values = {"principal": renamed[0], "user_id": renamed[1]}
    connection.execute(sa.update(table).where(_of(table, owner)).values(values))


def _rename_sessions(connection: sa.Connection, metadata: sa.MetaData, owner: Owner, renamed: Owner) -> None:
    _rename(connection, metadata.tables["sessions"], owner, renamed)


def _rename_forgettings(connection: sa.Connection, metadata: sa.MetaData, owner: Owner, renamed: Owner) -> None:
    _rename(connection, metadata.tables["forgettings"], owner, renamed)


def _rename_usage(connection: sa.Connection, metadata: sa.MetaData, owner: Owner, renamed: Owner) -> None:
    """Add to the sums that the user has under the other form of the name."""
    table = metadata.tables["usage"]
    sums = ("turns", "prompt_tokens", "completion_tokens")
    for row in connection.execute(sa.select(table).where(_of(table, owner))).mappings().all():
        same = sa.and_(*[table.c[name] == row[name] for name in ("agent", "llm", "day")])
        there = sa.and_(_of(table, renamed), same)
        if connection.execute(sa.select(table.c.day).where(there)).first() is None:
            values = {"principal": renamed[0], "user_id": renamed[1]}
            connection.execute(sa.update(table).where(_of(table, owner), same).values(values))
        else:
            added = {name: table.c[name] + row[name] for name in sums}
            connection.execute(sa.update(table).where(there).values(added))
            connection.execute(sa.delete(table).where(_of(table, owner), same))


def _rename_memories(connection: sa.Connection, metadata: sa.MetaData, owner: Owner, renamed: Owner) -> None:
    """An audience of all sessions of a user is a digest of the name; on SQLite the full text contains it as a word."""
    memories, vectors = metadata.tables["memories"], metadata.tables["memory_vectors"]
    agents = sa.select(memories.c.agent).where(_of(memories, owner)).distinct()
    for agent in connection.execute(agents).scalars().all():
        old, new = _audience(agent, owner), _audience(agent, renamed)
        of_user = sa.and_(memories.c.audience == old, _of(memories, owner))
        if connection.dialect.name == "sqlite":
            removed = sa.select(sa.literal("delete"), memories.c.row, memories.c.audience, memories.c.terms)
            _index(connection, "memories_text, rowid, audience, terms", removed.where(of_user))
        connection.execute(sa.update(vectors).where(vectors.c.audience == old).values(audience=new))
        connection.execute(sa.update(memories).where(of_user).values(audience=new))
        if connection.dialect.name == "sqlite":
            added = sa.select(memories.c.row, memories.c.audience, memories.c.terms)
            _index(connection, "rowid, audience, terms", added.where(memories.c.audience == new, _of(memories, owner)))
    said = sa.and_(_of(memories, owner), memories.c.speaker == owner[1])
    connection.execute(sa.update(memories).where(said).values(speaker=renamed[1]))
    _rename(connection, memories, owner, renamed)


def _index(connection: sa.Connection, columns: str, rows: sa.Select[Any]) -> None:
    target = sa.table("memories_text", *[sa.column(name) for name in columns.split(", ")])
    connection.execute(sa.insert(target).from_select(columns.split(", "), rows))


def _audience(agent: str, owner: Owner) -> str:
    content = "".join([f"{len(part)}:{part}" for part in (agent, owner[0], owner[1] or "")])
    return "u" + hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


_RENAME = {
    "sessions": _rename_sessions,
    "usage": _rename_usage,
    "memories": _rename_memories,
    "forgettings": _rename_forgettings,
}
