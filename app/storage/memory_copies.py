"""What a session alone remembers, copied for its fork."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from app.domain.ids import NewId
from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_m = tables.memories
_messages = tables.messages


def copying(unit: UnitOfWork, *, source: str, upto: int, audiences: tuple[str, str], new_id: NewId) -> None:
    """Give the unit's session what only session `source` remembers of its messages up to number `upto`.

    `audiences`: the source's own, and the unit's session's own. Vectors are made anew, in the background.
    """
    kept = select(_messages.c.message_id).where(_messages.c.session_id == source, _messages.c.seq <= upto)
    query = (
        select(_m)
        .where(_m.c.session_id == source, _m.c.audience == audiences[0], _m.c.message_id.in_(kept))
        .order_by(_m.c.place)
    )

    def copy(connection: Connection) -> None:
        rows = [dict(row._mapping) for row in connection.execute(query)]
        for place, row in enumerate(rows):
            del row["row"]
            row["memory_id"] = new_id("memory")
            row |= {"session_id": unit.session_id, "audience": audiences[1], "place": place}
        if rows:
            connection.execute(insert(_m), rows)

    unit.calls.append(copy)
