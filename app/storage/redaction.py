"""Redaction: in sessions that stay, what contains something to be forgotten is replaced by a mark or removed.

Found by a phrase, or by the ids of messages. The events of a session that is redacted are forgotten as those that are
older than their retention: a reader with an older cursor gets the messages as they stand now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select, update

from app.domain.forgetting import FORGOTTEN, Wish
from app.domain.phrase import Phrase
from app.storage import forgettings, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.forgettings import parts

_s, _t, _g, _e, _r = tables.sessions, tables.turns, tables.messages, tables.events, tables.runs
_sum, _i, _m, _old = tables.summaries, tables.idempotency, tables.memories, tables.memory_versions
PART = 100
"""Sessions looked through together."""


@dataclass(slots=True)
class Found:
    """What of one session is to be forgotten."""

    seqs: set[int] = field(default_factory=set)
    message_ids: set[str] = field(default_factory=set)
    turn_ids: set[str] = field(default_factory=set)
    in_events: bool = False
    in_summary: bool = False
    in_title: bool = False
    metadata: str | None = None
    """What is left of it, if it changes."""

    @property
    def in_history(self) -> bool:
        return bool(self.seqs or self.turn_ids or self.in_events or self.in_summary)

    def __bool__(self) -> bool:
        return self.in_history or self.in_title or self.metadata is not None


def scan(connection: Connection, session_ids: Sequence[str], phrase: Phrase) -> dict[str, Found]:
    """Where in these sessions the phrase is."""
    found: dict[str, Found] = {}
    for start in range(0, len(session_ids), PART):
        _scan(connection, session_ids[start : start + PART], phrase, found)
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
    """Where in these sessions messages with these ids are, copies in forks among them."""
    found: dict[str, Found] = {}
    wanted = frozenset(message_ids)
    for ids in parts(session_ids):
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


def redacting(unit: UnitOfWork, found: Found, *, last_seq: int) -> Counter[str]:
    """Forget it in the unit's session; the counts of what was, filled in when the unit is written.

    `last_seq`: the session's last number before, when no turn was open. What came later stays.
    """
    removed: Counter[str] = Counter()

    def redact(connection: Connection) -> None:
        removed.clear()  # a batch may be written twice
        _redact(connection, unit.session_id, found, last_seq, removed)

    unit.calls.append(redact)
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
    for seqs in parts(sorted(found.seqs)):
        run("messages", update(_g).where(_g.c.session_id == session_id, _g.c.seq.in_(seqs)).values(content=FORGOTTEN))
    for ids in parts(sorted(found.turn_ids)):
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
    wish: Wish,
    *,
    phrase: Phrase | None = None,
    message_ids: Collection[str] = (),
    summaries_of: Collection[str] = (),
) -> list[str]:
    """Ids of memories with the phrase, now or in an earlier text; of messages; of kind `summary` about sessions."""
    condition = forgettings.owned_memories(wish).condition()
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
