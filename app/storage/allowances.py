"""Allowances that several servers share, in the database: buckets of rates, and places that servers have taken.

Each of these is a transaction of its own on a reading connection, not a unit of the writer: every server counts, also
one that may not write sessions. Times are those of the database, which all servers agree on. PostgreSQL only.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

MILLI = 1000
"""A bucket is stored in thousandths: values are whole numbers."""
_NOW = "floor(extract(epoch from statement_timestamp()) * 1000)::bigint"
_FILLED = f"floor(least(:burst, allowances.level + greatest({_NOW} - allowances.at_ms, 0) * :per_ms))::bigint"
_GRANT = f"least(:wanted, {_FILLED} / {MILLI})"
_TAKE = text(
    "INSERT INTO allowances (name, level, at_ms, granted) "
    f"VALUES (:name, (:burst - :wanted * {MILLI})::bigint, {_NOW}, :wanted) "
    "ON CONFLICT (name) DO UPDATE SET "
    f"granted = {_GRANT}, level = {_FILLED} - {_GRANT} * {MILLI}, at_ms = greatest(allowances.at_ms, {_NOW}) "
    "RETURNING granted, level"
)
_DROP_OLD = text(f"DELETE FROM allowances WHERE at_ms < {_NOW} - :age_ms")
_LOCK = text("SELECT pg_advisory_lock(hashtextextended(:name, 1))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtextextended(:name, 1))")
_HELD = text(
    f"SELECT coalesce(sum(held), 0) FROM places WHERE name = :name AND holder <> :holder AND until_ms > {_NOW}"
)
_KEEP = text(
    f"INSERT INTO places (name, holder, held, until_ms) VALUES (:name, :holder, :held, {_NOW} + :lease_ms) "
    "ON CONFLICT (name, holder) DO UPDATE SET held = excluded.held, until_ms = excluded.until_ms"
)
_RENEW = text(f"UPDATE places SET until_ms = {_NOW} + :lease_ms WHERE holder = :holder AND held > 0")
_LEAVE = text("DELETE FROM places WHERE holder = :holder")
_DROP_DEAD = text(f"DELETE FROM places WHERE until_ms < {_NOW}")


def take(connection: Connection, *, name: str, wanted: int, burst: int, per_second: float) -> tuple[int, float]:
    """Take up to `wanted` (at most `burst`) of a bucket, which is full when it is new. (granted, what is left)."""
    row = connection.execute(
        _TAKE, {"name": name, "wanted": wanted, "burst": burst * MILLI, "per_ms": per_second}
    ).one()
    return int(row.granted), int(row.level) / MILLI


def occupy(
    connection: Connection, *, name: str, holder: str, wanted: int, fewest: int, most: int, lease_ms: int
) -> int:
    """Have `wanted` of `most` places, or as many as others have left, at least `fewest`, which the holder uses.

    Returns how many the holder has now. A lock of the name makes it one after another.
    """
    key = {"name": name}
    connection.execute(_LOCK, key)
    try:
        others = int(connection.execute(_HELD, {**key, "holder": holder}).scalar_one())
        held = max(min(wanted, most - others), fewest)
        connection.execute(_KEEP, {**key, "holder": holder, "held": held, "lease_ms": lease_ms})
        return held
    finally:
        connection.execute(_UNLOCK, key)


def renew(connection: Connection, *, holder: str, lease_ms: int) -> None:
    """All places of a holder stay its own for so long. Those of holders that died are dropped, and old buckets."""
    connection.execute(_RENEW, {"holder": holder, "lease_ms": lease_ms})
    connection.execute(_DROP_DEAD)
    connection.execute(_DROP_OLD, {"age_ms": 86_400_000})


def leave(connection: Connection, *, holder: str) -> None:
    """Give back every place of a holder."""
    connection.execute(_LEAVE, {"holder": holder})
