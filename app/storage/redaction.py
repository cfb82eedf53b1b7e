"""Redaction: in sessions that stay, texts to be forgotten are replaced by a marker or removed.

They are found by a phrase or by message ids. The events of a redacted session are deleted like events older than their
retention: a reader with an older cursor gets the messages as they stand now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select, update

from app.domain.forgetting import FORGOTTEN, DeletionRequest
from app.domain.phrase import Phrase
from app.storage import forgettings, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.forgettings import batches

_s, _t, _g, _e, _r = tables.sessions, tables.turns, tables.messages, tables.events, tables.runs
_sum, _i, _m, _old = tables.summaries, tables.idempotency, tables.memories, tables.memory_versions
SESSIONS_PER_SCAN = 100


@dataclass(slots=True)
class Found:
    """Where texts to be forgotten are in one session."""

    seqs: set[int] = field(default_factory=set)
    message_ids: set[str] = field(default_factory=set)
    turn_ids: set[str] = field(default_factory=set)
    in_events: bool = False
    in_summary: bool = False
    in_title: bool = False
    metadata: str | None = None
    """The redacted value, if it changes."""

    @property
    def in_history(self) -> bool:
        return bool(self.seqs or self.turn_ids or self.in_events or self.in_summary)

    def __bool__(self) -> bool:
        return self.in_history or self.in_title or self.metadata is not None


def scan(connection: Connection, session_ids: Sequence[str], phrase: Phrase) -> dict[str, Found]:
    """Find the phrase in these sessions."""
    found: dict[str, Found] = {}
    for start in range(0, len(session_ids), SESSIONS_PER_SCAN):
        _scan(connection, session_ids[start : start + SESSIONS_PER_SCAN], phrase, found)
    return {session_id: one for session_id, one in found.items() if one}


def _scan(connection: Connection, ids: Sequence[str], phrase: Phrase, found: dict[str, Found]) -> None:
    def rows(table: Any, *columns: Any) -> Iterator[tuple[Found, Any]]:
        for row in connection.execute(select(table.c.session_id, *columns).where(table.c.session_id.in_(ids))):
            yield found.setdefault(row.session_id, Found()), row

    for one, row in rows(_s, _s.c.title, _s.c.metadata):
        one.in_title = phrase.is_in(row.title)
        if phrase.is_in_json(row.metadata):
            one.metadata = orjson.dumps(phrase.without(orjson.loads(row.metadata), FORGOTTEN)).decode()
    for one, row in rows(_g, _g.c.seq, _g.c.message_id, _g.c.turn_id, _g.c.content):
        if phrase.is_in(row.content):
            _add_message(one, row)
    for one, row in rows(_t, _t.c.turn_id, _t.c.input, _t.c.instructions, _t.c.error, _t.c.memory):
        if any(map(phrase.is_in, (row.input, row.instructions))) or any(
            map(phrase.is_in_json, (row.error, row.memory))
        ):
            one.turn_ids.add(row.turn_id)
    for one, row in rows(_e, _e.c.fact):
        one.in_events = one.in_events or phrase.is_in_json(row.fact)
    for one, row in rows(_r, _r.c.content):
        one.in_events = one.in_events or phrase.is_in(row.content)
    for one, row in rows(_sum, _sum.c.text):
        one.in_summary = one.in_summary or phrase.is_in(row.text)


def find_messages(connection: Connection, session_ids: Sequence[str], message_ids: Collection[str]) -> dict[str, Found]:
    """Find messages with these ids in these sessions; copies in forks have the same ids."""
    found: dict[str, Found] = {}
    wanted = frozenset(message_ids)
    for ids in batches(session_ids):
        columns = (_g.c.session_id, _g.c.seq, _g.c.message_id, _g.c.turn_id)
        query = select(*columns).where(_g.c.session_id.in_(ids), _g.c.content != FORGOTTEN)
        for row in connection.execute(query):
            if row.message_id in wanted:
                _add_message(found.setdefault(row.session_id, Found()), row)
    return found


def _add_message(found: Found, row: Any) -> None:
    found.seqs.add(row.seq)
    found.message_ids.add(row.message_id)
    if row.turn_id:
        found.turn_ids.add(row.turn_id)


def redact(unit: UnitOfWork, found: Found, *, last_seq: int) -> Counter[str]:
    """Redact the unit's session; the counts by kind are filled in when the unit is written.

    `last_seq`: the session's last number when it was scanned and no turn was open. Later events stay.
    """
    removed: Counter[str] = Counter()

    def write(connection: Connection) -> None:
        removed.clear()  # a batch may be written twice
        _redact(connection, unit.session_id, found, last_seq, removed)

    unit.calls.append(write)
    return removed


def _redact(connection: Connection, session_id: str, found: Found, last_seq: int, removed: Counter[str]) -> None:
    def run(name: str, statement: Any) -> None:
        removed[name] += connection.execute(statement).rowcount

    if found.in_title or found.metadata is not None:
        values: dict[str, Any] = {"title": None} if found.in_title else {}
        values |= {"metadata": found.metadata} if found.metadata is not None else {}
        run("titles", update(_s).where(_s.c.session_id == session_id).values(values))
    if not found.in_history:
        return
    for seqs in batches(sorted(found.seqs)):
        run("messages", update(_g).where(_g.c.session_id == session_id, _g.c.seq.in_(seqs)).values(content=FORGOTTEN))
    for ids in batches(sorted(found.turn_ids)):
        texts = {"input": FORGOTTEN, "instructions": None, "error": None, "memory": None}
        run("turns", update(_t).where(_t.c.session_id == session_id, _t.c.turn_id.in_(ids)).values(texts))
        run("idempotency_keys", delete(_i).where(_i.c.session_id == session_id, _i.c.turn_id.in_(ids)))
    run("summaries", delete(_sum).where(_sum.c.session_id == session_id))
    run("events", delete(_e).where(_e.c.session_id == session_id, _e.c.seq <= last_seq))
    run("events", delete(_r).where(_r.c.session_id == session_id, _r.c.last_seq <= last_seq))
    connection.execute(update(_s).where(_s.c.session_id == session_id).values(floor_seq=last_seq))


# -- memories ----------------------------------------------------------------------------------------------------


def find_memories(
    connection: Connection,
    request: DeletionRequest,
    *,
    phrase: Phrase | None = None,
    message_ids: Collection[str] = (),
    summaries_of: Collection[str] = (),
) -> list[str]:
    """Ids of memories that contain the phrase, now or in an earlier version; of these messages; and of kind `summary`
    about these sessions.
    """
    condition = forgettings.owned_memories(request).condition()
    tests: list[Callable[[Any], bool]] = [lambda row: row.message_id in message_ids]
    tests.append(lambda row: row.kind == "summary" and row.session_id in summaries_of)
    if phrase is not None:
        tests.append(lambda row: phrase.is_in(row.text) or phrase.is_in(row.speaker))
    columns = (_m.c.row, _m.c.memory_id, _m.c.message_id, _m.c.kind, _m.c.session_id, _m.c.text, _m.c.speaker)
    found: list[str] = []
    after = 0
    while rows := connection.execute(
        select(*columns).where(condition, _m.c.row > after).order_by(_m.c.row).limit(2000)
    ).all():
        after = rows[-1].row
        found += [row.memory_id for row in rows if any(test(row) for test in tests)]
    if phrase is not None:
        earlier = select(_old.c.memory_id, _old.c.text).join(_m, _m.c.memory_id == _old.c.memory_id).where(condition)
        found += [row.memory_id for row in connection.execute(earlier) if phrase.is_in(row.text)]
    return list(dict.fromkeys(found))
