"""Summaries of older messages in the database."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, literal, select

from app.domain.summary import Summary
from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

KEPT = 4
"""Summaries kept per session: a fork or a regenerated answer may need one before the latest."""

_s = tables.summaries
_COLUMNS = ("session_id", "upto_seq", "text", "tokens", "model", "created_ms")
# A session that is over gets no more summaries, and a deleted one must not get a row.
_ADD = (
    insert(_s)
    .from_select(
        list(_COLUMNS),
        select(
            tables.sessions.c.session_id,
            bindparam("upto", type_=_s.c.upto_seq.type),
            bindparam("the_text", type_=_s.c.text.type),
            bindparam("the_tokens", type_=_s.c.tokens.type),
            bindparam("the_model", type_=_s.c.model.type),
            bindparam("now", type_=_s.c.created_ms.type),
        ).where(tables.sessions.c.session_id == bindparam("the_session"), tables.sessions.c.status == "active"),
    )
    .execution_options(preserve_rowcount=True)
)  # without the option an INSERT on Postgres does not return its row count
_OLDEST_KEPT = (
    select(_s.c.upto_seq)
    .where(_s.c.session_id == bindparam("the_session"))
    .order_by(_s.c.upto_seq.desc())
    .offset(KEPT - 1)
    .limit(1)
    .scalar_subquery()
)
_PRUNE = delete(_s).where(_s.c.session_id == bindparam("the_session"), _s.c.upto_seq < _OLDEST_KEPT)
_DROP = delete(_s).where(_s.c.session_id == bindparam("the_session"), _s.c.upto_seq >= bindparam("seq"))
_FIND = (
    select(_s)
    .where(_s.c.session_id == bindparam("the_session"), _s.c.upto_seq < bindparam("before"))
    .order_by(_s.c.upto_seq.desc())
    .limit(1)
)


def add(unit: UnitOfWork, summary: Summary) -> None:
    """Store a summary. Fails the unit unless the session is active and has no summary up to the same number."""
    unit.add(
        _ADD,
        {
            "the_session": unit.session_id,
            "upto": summary.upto_seq,
            "the_text": summary.text,
            "the_tokens": summary.tokens,
            "the_model": summary.model,
            "now": summary.created_ms,
        },
        expect=1,
    )
    unit.add(_PRUNE, {"the_session": unit.session_id})


def add_drop(unit: UnitOfWork, *, seq: int) -> None:
    """Delete every summary that covers message `seq` of the unit's session."""
    unit.add(_DROP, {"the_session": unit.session_id, "seq": seq})


def copy(unit: UnitOfWork, *, source: str, upto: int) -> None:
    """Copy to the unit's session the summaries of `source` that cover messages up to number `upto` only."""
    columns = [literal(unit.session_id), *[_s.c[name] for name in _COLUMNS[1:]]]
    copied = select(*columns).where(_s.c.session_id == source, _s.c.upto_seq <= upto)
    statement = insert(_s).from_select(list(_COLUMNS), copied)
    unit.calls.append(lambda connection: connection.execute(statement))


def find(connection: Connection, session_id: str, *, before: int) -> Summary | None:
    """The latest summary that covers messages below number `before` only."""
    row = connection.execute(_FIND, {"the_session": session_id, "before": before}).first()
    if row is None:
        return None
    return Summary(row.upto_seq, row.text, row.tokens, row.model, row.created_ms)
