"""Events in the database: one row for each fact, one row for many consecutive deltas of text with their sizes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, literal, select, update

from app.domain.message import Message
from app.storage import messages, sessions, tables
from app.storage.engine.unit_of_work import UnitOfWork

_e = tables.events
_r = tables.runs
_t = tables.turns
_m = tables.messages

_RUN_COLUMNS = (
    "session_id",
    "first_seq",
    "last_seq",
    "turn_id",
    "kind",
    "lengths",
    "content",
    "message_seq",
    "start",
    "created_ms",
)
_FACT = insert(_e)
_FACT_COLUMNS = ("session_id", "seq", "kind", "turn_id", "fact", "created_ms")
_there = _e.alias("there")
_FACT_ONCE = insert(_e).from_select(
    list(_FACT_COLUMNS),
    select(*[bindparam(f"p_{name}", type_=_e.c[name].type) for name in _FACT_COLUMNS]).where(
        ~exists(
            select(literal(1)).where(
                _there.c.session_id == bindparam("p_session_id"), _there.c.seq == bindparam("p_seq")
            )
        )
    ),
)
_RUN = insert(_r)
# Text of a turn that has ended, or of a session that was terminated meanwhile, must not be inserted again.
_RUN_WHILE_OPEN = insert(_r).from_select(
    list(_RUN_COLUMNS),
    select(*[bindparam(f"p_{name}", type_=_r.c[name].type) for name in _RUN_COLUMNS]).where(
        exists(select(literal(1)).where(_t.c.turn_id == bindparam("p_turn_id"), _t.c.finished_ms.is_(None)))
    ),
)
_DROP_RUNS = delete(_r).where(_r.c.session_id == bindparam("the_session"), _r.c.first_seq >= bindparam("from_seq"))
# A turn that began with its message has the same number as the message.
_BEGAN = and_(_m.c.session_id == _e.c.session_id, _m.c.seq == _e.c.seq, _e.c.kind == "turn_started")
_FACTS_AFTER = (
    select(_e.c.seq, _e.c.kind, _e.c.turn_id, _e.c.fact, _e.c.created_ms, _m.c.content)
    .select_from(_e.outerjoin(_m, _BEGAN))
    .where(
        _e.c.session_id == bindparam("the_session"),
        _e.c.seq > bindparam("after"),
        _e.c.seq <= bindparam("upto"),
    )
    .order_by(_e.c.seq)
    .limit(bindparam("at_most"))
)
# A turn that waits, or was cancelled before it began, has no message: it keeps the text itself.
_WAITING = select(_t.c.turn_id, _t.c.input).where(
    _t.c.turn_id.in_(bindparam("the_turns", expanding=True)), _t.c.started_ms.is_(None)
)
_MESSAGES = select(_m.c.message_id, _m.c.content).where(
    _m.c.session_id == bindparam("the_session"), _m.c.message_id.in_(bindparam("the_messages", expanding=True))
)
_RUNS_AFTER = (
    select(_r)
    .where(
        _r.c.session_id == bindparam("the_session"),
        _r.c.last_seq > bindparam("after"),
        _r.c.first_seq <= bindparam("upto"),
    )
    .order_by(_r.c.first_seq)
    .limit(bindparam("at_most"))
)


@dataclass(frozen=True, slots=True)
class StoredFact:
    """One event that is not text; `fact` is the frame's JSON object."""

    seq: int
    kind: str
    turn_id: str | None
    fact: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class StoredRun:
    """Deltas `first` to `last`; `lengths` are their sizes in characters, `text` all of them joined."""

    first: int
    last: int
    turn_id: str
    kind: str
    lengths: array[int]
    text: str
    created_ms: int


def add_fact(
    unit: UnitOfWork,
    *,
    seq: int,
    kind: str,
    turn_id: str | None,
    fact: bytes,
    created_ms: int,
    once: bool = False,
) -> None:
    """Insert the row of a fact; with `once` nothing happens if it is there."""
    values = {
        "session_id": unit.session_id,
        "seq": seq,
        "kind": kind,
        "turn_id": turn_id,
        "fact": fact.decode(),
        "created_ms": created_ms,
    }
    if once:
        unit.add(_FACT_ONCE, {f"p_{name}": value for name, value in values.items()})
    else:
        unit.add(_FACT, values)


def add_run(
    unit: UnitOfWork,
    *,
    first: int,
    last: int,
    turn_id: str,
    kind: str,
    lengths: array[int],
    content: str | None,
    created_ms: int,
    message_seq: int | None = None,
    start: int = 0,
    while_open: bool = False,
) -> None:
    """Insert deltas `first` to `last`.

    `content` is the text itself, or `None` when message `message_seq` holds it from character `start` on. With
    `while_open` nothing is inserted unless the turn is open.
    """
    values = {
        "session_id": unit.session_id,
        "first_seq": first,
        "last_seq": last,
        "turn_id": turn_id,
        "kind": kind,
        "lengths": pack(lengths),
        "content": content,
        "message_seq": message_seq,
        "start": start,
        "created_ms": created_ms,
    }
    if while_open:
        unit.add(_RUN_WHILE_OPEN, {f"p_{name}": value for name, value in values.items()})
    else:
        unit.add(_RUN, values)


def add_drop_runs(unit: UnitOfWork, *, from_seq: int) -> None:
    """Delete text from number `from_seq` on: the unit that ends a turn inserts its text again as final rows."""
    unit.add(_DROP_RUNS, {"the_session": unit.session_id, "from_seq": from_seq})


def facts_after(connection: Connection, session_id: str, *, after: int, upto: int, limit: int) -> list[StoredFact]:
    """Facts with `after` < seq ≤ `upto`, oldest first, at most `limit`."""
    parameters = {"the_session": session_id, "after": after, "upto": upto, "at_most": limit}
    rows = connection.execute(_FACTS_AFTER, parameters).all()
    lacking = [row for row in rows if row.content is None and _lacks_message(row.kind, row.fact)]
    messages_by_seq = _find_messages(connection, session_id, lacking) if lacking else {}
    found = []
    for seq, kind, turn_id, fact, created_ms, content in rows:
        if _lacks_message(kind, fact):
            fact = _with_message(fact, content if content is not None else messages_by_seq.get(seq, ""))
        found.append(StoredFact(seq, kind, turn_id, fact, created_ms))
    return found


def _lacks_message(kind: str, fact: str) -> bool:
    """Whether a row announces a turn without its message; rows of earlier releases have it."""
    return kind in ("turn_started", "turn_queued") and '"message":' not in fact


def _with_message(fact: str, text: str) -> str:
    return f'{fact[:-1]},"message":{orjson.dumps(text).decode()}}}'


def _find_messages(connection: Connection, session_id: str, rows: Sequence[Any]) -> dict[int, str]:
    """The messages of turns that were queued or that answer an earlier message again, by the number of the event.

    Turns are looked up first: a turn that begins between the two statements is then found by its message.
    """
    queued = [row.turn_id for row in rows if row.kind == "turn_queued"]
    inputs: dict[str, str] = {}
    if queued:
        inputs = {row.turn_id: row.input for row in connection.execute(_WAITING, {"the_turns": queued})}
    found = {row.seq: inputs[row.turn_id] for row in rows if row.turn_id in inputs}
    ids = {row.seq: orjson.loads(row.fact)["message_id"] for row in rows if row.seq not in found}
    if ids:
        parameters = {"the_session": session_id, "the_messages": sorted(set(ids.values()))}
        contents = {row.message_id: row.content for row in connection.execute(_MESSAGES, parameters)}
        found |= {seq: contents[message_id] for seq, message_id in ids.items() if message_id in contents}
    return found


def runs_after(connection: Connection, session_id: str, *, after: int, upto: int, limit: int) -> list[StoredRun]:
    parameters = {"the_session": session_id, "after": after, "upto": upto, "at_most": limit}
    found = []
    contents: dict[int, str] = {}
    for row in connection.execute(_RUNS_AFTER, parameters).all():
        lengths = unpack(row.lengths)
        text = row.content
        if text is None:
            if row.message_seq not in contents:
                message = messages.at(connection, session_id, row.message_seq)
                contents[row.message_seq] = message.content if message else ""
            text = contents[row.message_seq][row.start : row.start + sum(lengths)]
        found.append(StoredRun(row.first_seq, row.last_seq, row.turn_id, row.kind, lengths, text, row.created_ms))
    return found


@dataclass(frozen=True, slots=True)
class Page:
    """A bounded page of a session's events: complete up to number `horizon`.

    Events at or below `floor` were deleted; `answers` are the messages that a reader with an older cursor gets instead.
    """

    floor: int
    horizon: int
    facts: list[StoredFact]
    texts: list[StoredRun]
    answers: list[Message]


def page(connection: Connection, session_id: str, *, after: int, upto: int, limit: int, snapshots: bool) -> Page:
    """Events with `after` < number ≤ `upto`. With `snapshots`, answers come first where events were deleted."""
    session = sessions.find(connection, session_id)
    floor = session.floor_seq if session is not None else 0
    if snapshots and after < floor:
        answers = messages.answers(connection, session_id, after=after, upto=floor, limit=limit)
        if answers:
            return Page(floor, floor, [], [], answers)
    after = max(after, floor)
    facts = facts_after(connection, session_id, after=after, upto=upto, limit=limit)
    texts = runs_after(connection, session_id, after=after, upto=upto, limit=limit)
    # A query that reached its limit may have more rows after the last one it returned.
    horizon = upto
    if len(facts) == limit:
        horizon = min(horizon, facts[-1].seq)
    if len(texts) == limit:
        horizon = min(horizon, texts[-1].last)
    facts = [fact for fact in facts if fact.seq <= horizon]
    return Page(floor, horizon, facts, [text for text in texts if text.first <= horizon], [])


def start_of(connection: Connection, session_id: str, turn_id: str) -> int | None:
    """The number of the event that a turn began with its work."""
    query = select(_e.c.seq).where(_e.c.session_id == session_id, _e.c.turn_id == turn_id, _e.c.kind == "turn_started")
    return connection.execute(query.order_by(_e.c.seq.desc()).limit(1)).scalar()


def has_gap(connection: Connection, session_id: str, after: int) -> bool:
    """Whether a reader with cursor `after` needs a snapshot: events were deleted, or a snapshot replaced text."""
    session = sessions.find(connection, session_id)
    if session is not None and after < session.floor_seq:
        return True
    snapshot = select(_e.c.seq).where(_e.c.session_id == session_id, _e.c.seq > after, _e.c.kind == "snapshot")
    return connection.execute(snapshot.limit(1)).first() is not None


def text_of_turn(connection: Connection, session_id: str, turn_id: str, *, after: int, upto: int) -> str:
    """The plain text of a turn that is stored with `after` < number ≤ `upto`."""
    parts = []
    while found := runs_after(connection, session_id, after=after, upto=upto, limit=256):
        parts += [run.text for run in found if run.turn_id == turn_id and run.kind == "text"]
        after = found[-1].last
    return "".join(parts)


def make_expiry(*, events_before_ms: int, keys_before_ms: int, limit: int) -> UnitOfWork:
    """A unit that deletes events of turns that ended before `events_before_ms`, of `limit` sessions, and old keys."""

    def sweep(connection: Connection) -> None:
        _expire(connection, before_ms=events_before_ms, limit=limit)
        keys = tables.idempotency
        connection.execute(delete(keys).where(keys.c.created_ms < keys_before_ms))

    return UnitOfWork("", calls=[sweep])


def _expire(connection: Connection, *, before_ms: int, limit: int) -> None:
    """Delete events of whole turns only, so that the kept ones begin with a turn. Messages are not deleted."""
    is_old = _t.c.finished_ms < before_ms
    due = connection.execute(
        select(_r.c.session_id)
        .where(_r.c.created_ms < before_ms, exists().where(_t.c.turn_id == _r.c.turn_id, is_old))
        .distinct()
        .limit(limit)
    ).scalars()
    for session_id in due.all():
        # Only turns that were started: the last event of a turn cancelled in the queue lies within another turn.
        floor = connection.execute(
            select(func.max(_t.c.last_seq)).where(_t.c.session_id == session_id, is_old, _t.c.started_ms.is_not(None))
        ).scalar()
        if floor is None:
            continue
        connection.execute(delete(_e).where(_e.c.session_id == session_id, _e.c.seq <= floor))
        connection.execute(delete(_r).where(_r.c.session_id == session_id, _r.c.last_seq <= floor))
        connection.execute(
            update(tables.sessions).where(tables.sessions.c.session_id == session_id).values(floor_seq=floor)
        )


def pack(lengths: array[int]) -> bytes:
    """Encode as one byte for the width (1, 2 or 4), then the numbers in little-endian order."""
    longest = max(lengths, default=0)
    code, width = ("B", 1) if longest < 256 else ("H", 2) if longest < 65536 else ("I", 4)
    return bytes([width]) + array(code, lengths).tobytes()


def unpack(packed: bytes) -> array[int]:
    numbers = array({1: "B", 2: "H", 4: "I"}[packed[0]])
    numbers.frombytes(packed[1:])
    return numbers
