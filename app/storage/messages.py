"""Messages in the database: insert, copy, mark as replaced, find, and read page by page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    update,
)

from app.domain.label import Secrecy, Trust, least_trusted
from app.domain.message import Message, MessageRole, ToolCallRecord
from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_m, _s = tables.messages, tables.sessions
_INSERT = insert(_m)
_BEFORE = (
    select(_m)
    .where(_m.c.session_id == bindparam("the_session"), _m.c.seq < bindparam("before"))
    .order_by(_m.c.seq.desc())
    .limit(bindparam("at_most"))
)
_CONTEXT = (
    select(_m)
    .where(_m.c.session_id == bindparam("the_session"), _m.c.seq < bindparam("before"), _m.c.status != "replaced")
    .order_by(_m.c.seq.desc())
    .limit(bindparam("at_most"))
)
_REPLACE = (
    update(_m)
    .where(_m.c.session_id == bindparam("the_session"), _m.c.seq > bindparam("after"), _m.c.seq <= bindparam("upto"))
    .values(status="replaced")
)
_OUTCOME = (
    update(_m)
    .where(_m.c.session_id == bindparam("the_session"), _m.c.tool_call_id == bindparam("the_call"), _m.c.role == "tool")
    .values(content=bindparam("new_content"))
)
_AT = select(_m).where(_m.c.session_id == bindparam("the_session"), _m.c.seq == bindparam("the_seq"))
_AFTER = (
    select(_m)
    .where(
        _m.c.session_id == bindparam("the_session"),
        _m.c.seq > bindparam("after"),
        _m.c.seq <= bindparam("upto"),
        _m.c.status != "replaced",
    )
    .order_by(_m.c.seq)
    .limit(bindparam("at_most"))
)
_ANSWERS = (
    select(_m)
    .where(
        _m.c.session_id == bindparam("the_session"),
        _m.c.role == "assistant",
        _m.c.seq > bindparam("after"),
        _m.c.seq <= bindparam("upto"),
    )
    .order_by(_m.c.seq)
    .limit(bindparam("at_most"))
)

_OF_TURN = (
    select(_m)
    .where(
        _m.c.session_id == bindparam("the_session"),
        _m.c.turn_id == bindparam("the_turn"),
        _m.c.message_id
        != select(tables.turns.c.user_message_id)
        .where(tables.turns.c.turn_id == bindparam("the_turn"))
        .scalar_subquery(),
    )
    .order_by(_m.c.seq)
)
_STEPS = select(func.max(_m.c.seq)).where(
    _m.c.session_id == bindparam("the_session"), _m.c.turn_id == bindparam("the_turn"), _m.c.role != "user"
)
_FIND = select(_m).where(_m.c.session_id == bindparam("the_session"), _m.c.message_id == bindparam("the_message"))
_LABELS = (
    select(_m.c.message_id, _m.c.role, _m.c.trust, _m.c.secrecy, _m.c.tool_call_id, _m.c.tool_calls)
    .where(_m.c.session_id == bindparam("the_session"), _m.c.status != "replaced")
    .order_by(_m.c.seq.desc())
    .limit(bindparam("at_most"))
)
_COLUMNS = (
    "session_id",
    "seq",
    "message_id",
    "turn_id",
    "role",
    "content",
    "status",
    "created_ms",
    "tool_calls",
    "tool_call_id",
    "result_id",
    "trust",
    "secrecy",
)

NEWEST = 2**62


def add(unit: UnitOfWork, message: Message) -> None:
    unit.add(_INSERT, _row(message))


def _row(message: Message) -> dict[str, Any]:
    calls = [[call.call_id, call.name, call.arguments] for call in message.tool_calls]
    return {
        "session_id": message.session_id,
        "seq": message.seq,
        "message_id": message.message_id,
        "turn_id": message.turn_id or "",
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "created_ms": message.created_ms,
        "tool_calls": orjson.dumps(calls).decode() if calls else None,
        "tool_call_id": message.tool_call_id,
        "result_id": message.result_id,
        "trust": message.trust,
        "secrecy": message.secrecy,
    }


def add_outcome(unit: UnitOfWork, call_id: str, content: str) -> None:
    """Replace what the history says of a call whose outcome was unknown."""
    unit.add(_OUTCOME, {"the_session": unit.session_id, "the_call": call_id, "new_content": content})


def page(
    connection: Connection,
    session_id: str,
    *,
    before: int = NEWEST,
    limit: int,
    roles: Collection[str] | None = None,
) -> list[Message]:
    """The `limit` newest messages below number `before`, oldest first; of these roles, if some are named."""
    query = _BEFORE if roles is None else _BEFORE.where(_m.c.role.in_(sorted(roles)))
    rows = connection.execute(query, {"the_session": session_id, "before": before, "at_most": limit}).all()
    return [_message(row) for row in reversed(rows)]


def of_turn(connection: Connection, session_id: str, turn_id: str) -> list[Message]:
    """What a turn has added to the history beside the user's message, oldest first."""
    rows = connection.execute(_OF_TURN, {"the_session": session_id, "the_turn": turn_id}).all()
    return [_message(row) for row in rows]


def end_of_steps(connection: Connection, session_id: str, turn_id: str) -> int:
    """The number of the newest message that a step of a turn has stored; 0 if there is none."""
    found = connection.execute(_STEPS, {"the_session": session_id, "the_turn": turn_id}).scalar()
    return int(found or 0)


def add_replace(unit: UnitOfWork, *, after: int, upto: int) -> None:
    """Mark the messages of an answer, with `after` < seq ≤ `upto`, as replaced: they leave the context."""
    unit.add(_REPLACE, {"the_session": unit.session_id, "after": after, "upto": upto})


def copy(unit: UnitOfWork, *, source: str, upto: int) -> None:
    """Copy to the unit's session the messages of `source` up to number `upto`, with the same numbers and ids.

    Replaced messages are left out.
    """
    columns = [literal(unit.session_id), *[_m.c[name] for name in _COLUMNS[1:]]]
    copied = select(*columns).where(_m.c.session_id == source, _m.c.seq <= upto, _m.c.status != "replaced")
    statement = insert(_m).from_select(list(_COLUMNS), copied)
    unit.calls.append(lambda connection: connection.execute(statement))


def add_all(unit: UnitOfWork, seeds: list[Message]) -> None:
    """Insert many messages at once."""
    rows = [_row(seed) for seed in seeds]
    if rows:
        unit.calls.append(lambda connection: connection.execute(_INSERT, rows))


def context(connection: Connection, session_id: str, *, before: int, limit: int) -> list[Message]:
    """Like `page`, without replaced answers: the messages a model may be given."""
    rows = connection.execute(_CONTEXT, {"the_session": session_id, "before": before, "at_most": limit}).all()
    return [_message(row) for row in reversed(rows)]


def find(connection: Connection, session_id: str, message_id: str) -> Message | None:
    row = connection.execute(_FIND, {"the_session": session_id, "the_message": message_id}).first()
    return _message(row) if row is not None else None


def count(connection: Connection, session_id: str, *, upto: int) -> int:
    """How many messages, not counting replaced ones, have a number up to `upto`."""
    query = select(func.count()).where(_m.c.session_id == session_id, _m.c.seq <= upto, _m.c.status != "replaced")
    return int(connection.execute(query).scalar() or 0)


def least_trust(connection: Connection, session_id: str) -> Trust:
    """That of the least trusted message of a session, not counting replaced ones."""
    query = select(_m.c.role, _m.c.trust).where(_m.c.session_id == session_id, _m.c.status != "replaced").distinct()
    return least_trusted("user", *[_trust(row.role, row.trust) for row in connection.execute(query)])


@dataclass(frozen=True, slots=True)
class Labelled:
    """A message without its text. `tool`: whose outcome a tool message is, by name, if that is known."""

    message_id: str
    role: MessageRole
    trust: Trust
    secrecy: Secrecy
    call_id: str | None = None
    tool: str | None = None


def labels(connection: Connection, session_id: str, *, limit: int) -> list[Labelled]:
    """The labels of the `limit` newest messages, the newest first, not counting replaced ones."""
    rows = connection.execute(_LABELS, {"the_session": session_id, "at_most": limit}).all()
    names = {call.call_id: call.name for row in rows if row.tool_calls is not None for call in _calls(row.tool_calls)}
    return [
        Labelled(
            row.message_id,
            row.role,
            _trust(row.role, row.trust),
            row.secrecy or "private",
            row.tool_call_id,
            names.get(row.tool_call_id),
        )
        for row in rows
    ]


def size(connection: Connection, session_id: str, *, upto: int) -> int:
    """Bytes of the texts of the messages up to a number."""
    return _sum_of_sizes(connection, _m.c.session_id == session_id, _m.c.seq <= upto)


def size_of_user(connection: Connection, *, principal: str, user_id: str) -> int:
    """Bytes of the texts of every message in the sessions of a user, with all agents."""
    owned = select(_s.c.session_id).where(_s.c.principal == principal, _s.c.user_id == user_id)
    return _sum_of_sizes(connection, _m.c.session_id.in_(owned))


def _sum_of_sizes(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    is_sqlite = connection.dialect.name == "sqlite"  # whose length of a text is in characters
    length = func.length(cast(_m.c.content, LargeBinary)) if is_sqlite else func.octet_length(_m.c.content)
    return int(connection.execute(select(func.coalesce(func.sum(length), 0)).where(*conditions)).scalar() or 0)


def at(connection: Connection, session_id: str, seq: int) -> Message | None:
    row = connection.execute(_AT, {"the_session": session_id, "the_seq": seq}).first()
    return _message(row) if row is not None else None


def after(connection: Connection, session_id: str, *, after: int, upto: int, limit: int) -> list[Message]:
    """Messages with `after` < seq ≤ `upto`, oldest first, without those that were replaced."""
    parameters = {"the_session": session_id, "after": after, "upto": upto, "at_most": limit}
    return [_message(row) for row in connection.execute(_AFTER, parameters)]


def answers(connection: Connection, session_id: str, *, after: int, upto: int, limit: int) -> list[Message]:
    """Assistant messages with `after` < seq ≤ `upto`, oldest first."""
    parameters = {"the_session": session_id, "after": after, "upto": upto, "at_most": limit}
    return [_message(row) for row in connection.execute(_ANSWERS, parameters)]


def _message(row: Row[Any]) -> Message:
    return Message(
        message_id=row.message_id,
        session_id=row.session_id,
        turn_id=row.turn_id or None,
        role=row.role,
        content=row.content,
        status=row.status,
        seq=row.seq,
        created_ms=row.created_ms,
        tool_calls=_calls(row.tool_calls) if row.tool_calls is not None else (),
        tool_call_id=row.tool_call_id,
        result_id=row.result_id,
        trust=_trust(row.role, row.trust),
        secrecy=row.secrecy or "private",
    )


def _trust(role: str, stored: Trust | None) -> Trust:
    """Rows from before there were labels have none."""
    return stored or ("web" if role == "tool" else "user")


def _calls(stored: str) -> tuple[ToolCallRecord, ...]:
    return tuple([ToolCallRecord(*call) for call in orjson.loads(stored)])
