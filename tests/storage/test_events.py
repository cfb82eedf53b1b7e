"""Journal rows: sizes packed and unpacked, pages without gap or repeat, expiry by whole turns."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.forgetting import FORGOTTEN
from app.domain.session import Session
from app.domain.turn import TurnState
from app.storage import events, sessions
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict
from tests.fixtures.rows import (
    a_message,
    a_session,
    a_turn,
    count_rows,
    end_turn,
    store_messages,
    store_session,
    store_turn,
)


@given(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 70_000) | st.integers(0, 300)))
def test_sizes_survive_packing(lengths: list[int]) -> None:
    packed = events.pack(array("I", lengths))
    assert list(events.unpack(packed)) == lengths
    assert (len(packed) - 1) == len(lengths) * packed[0]


@pytest.mark.parametrize(("longest", "width"), [(0, 1), (255, 1), (256, 2), (65535, 2), (65536, 4)])
def test_sizes_take_no_more_bytes_than_the_longest_needs(longest: int, width: int) -> None:
    assert events.pack(array("I", [1, longest]))[0] == width


@dataclass(frozen=True)
class Piece:
    """What stands in the journal: a fact (one number), or a run of deltas."""

    first: int
    texts: tuple[str, ...] | None

    @property
    def last(self) -> int:
        return self.first + (len(self.texts) if self.texts is not None else 1) - 1


@st.composite
def journals(draw: st.DrawFn) -> list[Piece]:
    """Facts and runs in any order, with unused numbers between them."""
    pieces, seq = [], 1
    for _ in range(draw(st.integers(0, 24))):
        seq += draw(st.sampled_from([0, 0, 0, 1, 5]))
        texts = draw(st.none() | st.lists(st.sampled_from(["", "a", "bc", "€"]), min_size=1, max_size=6).map(tuple))
        pieces.append(Piece(seq, texts))
        seq = pieces[-1].last + 1
    return pieces


async def write(database: Database, pieces: list[Piece], session_id: str = "s1", turn_id: str = "t1") -> None:
    unit = UnitOfWork(session_id)
    for piece in pieces:
        if piece.texts is None:
            events.add_fact(unit, seq=piece.first, kind="debug", turn_id=turn_id, fact=b"{}", created_ms=1)
        else:
            events.add_run(
                unit,
                first=piece.first,
                last=piece.last,
                turn_id=turn_id,
                kind="text",
                lengths=array("I", map(len, piece.texts)),
                content="".join(piece.texts),
                created_ms=1,
            )
    await database.submit(unit)


def numbers_of(page: events.Page, after: int) -> list[tuple[int, str | None]]:
    """Every event of a page as a reader would get it."""
    found: list[tuple[int, str | None]] = [(fact.seq, None) for fact in page.facts]
    for run in page.texts:
        place = 0
        for number, length in enumerate(run.lengths, run.first):
            if after < number <= page.horizon:
                found.append((number, run.text[place : place + length]))
            place += length
    return sorted(found, key=lambda event: event[0])


def events_of(pieces: list[Piece]) -> list[tuple[int, str | None]]:
    return [
        event
        for piece in pieces
        for event in ([(piece.first, None)] if piece.texts is None else list(enumerate(piece.texts, piece.first)))
    ]


@settings(max_examples=60, deadline=None)
@given(pieces=journals(), after=st.integers(0, 30), cut=st.integers(0, 10), limit=st.integers(1, 5))
def test_pages_give_every_event_once_and_in_order(pieces: list[Piece], after: int, cut: int, limit: int) -> None:
    upto = max((piece.last for piece in pieces), default=0) - cut

    async def run() -> list[tuple[int, str | None]]:
        database = Database(None)
        await database.open()
        try:
            await store_session(database, a_session())
            await write(database, pieces)
            cursor, found = after, []
            while cursor < upto:
                query = partial(events.page, session_id="s1", after=cursor, upto=upto, limit=limit, snapshots=True)
                page = await database.read(query)
                got = numbers_of(page, cursor)
                assert page.horizon <= upto
                if not got:
                    assert page.horizon == upto, "an empty page must mean that nothing is left"
                    break
                found += got
                cursor = got[-1][0]
            return found
        finally:
            await database.close()

    assert asyncio.run(run()) == [event for event in events_of(pieces) if after < event[0] <= upto]


async def test_text_of_a_turn_is_read_from_many_rows(database: Database) -> None:
    await store_session(database, a_session())
    await write(database, [Piece(seq, (f"{seq} ",)) for seq in range(2, 702)])
    await write(database, [Piece(702, ("another turn's",))], turn_id="t2")
    text = await database.read(lambda connection: events.text_of_turn(connection, "s1", "t1", after=1, upto=9999))
    assert text == "".join(f"{seq} " for seq in range(2, 702))


async def add_while_open(database: Database, first: int, text: str) -> None:
    unit = UnitOfWork("s1")
    events.add_run(
        unit,
        first=first,
        last=first,
        turn_id="t1",
        kind="text",
        lengths=array("I", [len(text)]),
        content=text,
        created_ms=1,
        while_open=True,
    )
    await database.submit(unit)


async def test_text_does_not_come_back_after_the_end_of_its_turn(database: Database) -> None:
    await store_session(database, a_session())
    await store_turn(database, a_turn())
    await add_while_open(database, 2, "kept")
    await end_turn(database, "t1", last=9, now=2000)
    await add_while_open(database, 3, "too late")
    found = await database.read(lambda connection: events.runs_after(connection, "s1", after=0, upto=99, limit=9))
    assert [run.text for run in found] == ["kept"]


async def test_text_does_not_come_back_after_a_terminate(database: Database) -> None:
    await store_session(database, a_session())
    await store_turn(database, a_turn())
    unit = UnitOfWork("s1")
    sessions.add_tombstone(unit, id_hash=b"h", owner_hash=b"o", agent="assistant", receipt={})
    sessions.add_erase(unit)
    burying = database.submit(unit)
    await add_while_open(database, 2, "too late")
    await burying
    assert await count_rows(database, "s1") == {}


async def test_runs_of_a_finished_turn_take_their_text_from_the_message(database: Database) -> None:
    await store_session(database, a_session())
    await store_messages(database, a_message(9, content="Hello, wörld€!"))
    unit = UnitOfWork("s1")
    for first, start, lengths in ((2, 0, [5, 2]), (6, 7, [1, 6])):
        events.add_run(
            unit,
            first=first,
            last=first + 1,
            turn_id="t1",
            kind="text",
            lengths=array("I", lengths),
            content=None,
            message_seq=9,
            start=start,
            created_ms=1,
        )
    await database.submit(unit)
    found = await database.read(lambda connection: events.runs_after(connection, "s1", after=0, upto=99, limit=9))
    assert [run.text for run in found] == ["Hello, ", "wörld€!"]


async def test_a_number_is_used_once(database: Database) -> None:
    await store_session(database, a_session())
    await write(database, [Piece(1, None)])
    with pytest.raises(WriteConflict):
        await write(database, [Piece(1, None)])


async def test_a_row_of_an_earlier_release_keeps_the_message_it_has(database: Database) -> None:
    await store_session(database, a_session())
    await store_messages(database, a_message(1, role="user"))
    old = b'{"chunk": "", "type": "turn_started", "turn_id":"t1","message_id":"m1","message":"as it was"}'
    unit = UnitOfWork("s1")
    events.add_fact(unit, seq=1, kind="turn_started", turn_id="t1", fact=old, created_ms=1)
    await database.submit(unit)
    found = await database.read(lambda connection: events.facts_after(connection, "s1", after=0, upto=9, limit=9))
    assert [fact.fact for fact in found] == [old.decode()]


async def test_an_announced_message_that_was_redacted_shows_the_marker(database: Database) -> None:
    await store_session(database, a_session())
    await store_messages(database, a_message(1, role="user", content=FORGOTTEN))
    unit = UnitOfWork("s1")
    row = b'{"chunk": "", "type": "turn_started", "message_id":"m1"}'
    again = row.replace(b'"m1"', b'"m1","turn_id":"t2"')
    events.add_fact(unit, seq=1, kind="turn_started", turn_id="t1", fact=row, created_ms=1)
    events.add_fact(unit, seq=2, kind="turn_started", turn_id="t2", fact=again, created_ms=1)
    await database.submit(unit)
    found = await database.read(lambda connection: events.facts_after(connection, "s1", after=0, upto=9, limit=9))
    assert [orjson.loads(fact.fact)["message"] for fact in found] == [FORGOTTEN, FORGOTTEN]


async def turn_with_text(
    database: Database, turn_id: str, first: int, last: int, *, ended_ms: int | None, session_id: str = "s1"
) -> None:
    """A turn with `turn_started` at `first`, text, and `turn_finished` at `last` unless it still runs."""
    await store_turn(database, a_turn(turn_id, session_id, first_seq=first))
    unit = UnitOfWork(session_id)
    for seq in [first] if ended_ms is None else [first, last]:
        events.add_fact(unit, seq=seq, kind="debug", turn_id=turn_id, fact=b"{}", created_ms=ended_ms or 1)
    for seq in range(first + 1, last):
        events.add_run(
            unit,
            first=seq,
            last=seq,
            turn_id=turn_id,
            kind="text",
            lengths=array("I", [1]),
            content="x",
            created_ms=ended_ms or 1,
        )
    await database.submit(unit)
    if ended_ms is not None:
        await store_messages(database, a_message(last, session_id, turn_id=turn_id))
        await end_turn(database, turn_id, last=last, now=ended_ms, session_id=session_id)


async def kept(database: Database, session_id: str = "s1") -> tuple[int, list[int]]:
    """The floor, and the numbers above it."""

    def look(connection) -> tuple[Session | None, events.Page]:  # type: ignore[no-untyped-def]
        page = events.page(connection, session_id, after=0, upto=999, limit=500, snapshots=False)
        return sessions.find(connection, session_id), page

    session, page = await database.read(look)
    assert session is not None
    return session.floor_seq, [number for number, _ in numbers_of(page, 0)]


async def test_expiry_forgets_whole_turns_and_keeps_messages(database: Database) -> None:
    await store_session(database, a_session())
    await turn_with_text(database, "t1", 1, 5, ended_ms=1000)
    await turn_with_text(database, "t2", 6, 9, ended_ms=2000)
    await database.submit(events.make_expiry(events_before_ms=1500, keys_before_ms=0, limit=10))
    assert await kept(database) == (5, [6, 7, 8, 9])
    assert (await count_rows(database, "s1"))["messages"] == 2


async def test_expiry_leaves_a_running_turn_alone_however_old_its_text_is(database: Database) -> None:
    await store_session(database, a_session())
    await turn_with_text(database, "t1", 1, 5, ended_ms=1000)
    await turn_with_text(database, "t2", 6, 9, ended_ms=None)
    await database.submit(events.make_expiry(events_before_ms=5000, keys_before_ms=0, limit=10))
    assert await kept(database) == (5, [6, 7, 8])


@pytest.mark.parametrize("ended_ms", [None, 9000])
async def test_a_turn_cancelled_in_the_queue_does_not_take_half_of_the_one_it_waited_for(
    database: Database, ended_ms: int | None
) -> None:
    await store_session(database, a_session())
    await turn_with_text(database, "t0", 1, 3, ended_ms=500)
    await turn_with_text(database, "t1", 4, 9, ended_ms=ended_ms)
    await store_turn(database, a_turn("t2", state=TurnState.QUEUED, started_ms=None, first_seq=6), place=2)
    await end_turn(database, "t2", last=7, now=1000)
    await database.submit(events.make_expiry(events_before_ms=5000, keys_before_ms=0, limit=10))
    assert await kept(database) == (3, list(range(4, 9 if ended_ms is None else 10)))


async def test_expiry_takes_a_bounded_number_of_sessions_and_goes_on_next_time(database: Database) -> None:
    names = [f"s{number}" for number in range(5)]
    for name in names:
        await store_session(database, a_session(name))
        await turn_with_text(database, f"{name}-t", 1, 4, ended_ms=1000, session_id=name)
    left = []
    for _ in range(3):
        await database.submit(events.make_expiry(events_before_ms=5000, keys_before_ms=0, limit=2))
        left.append(sum([(await kept(database, name))[0] == 0 for name in names]))
    assert left == [3, 1, 0]


async def test_sessions_that_cannot_expire_do_not_hold_up_the_others(database: Database) -> None:
    for name in ("a-running", "b-running"):
        await store_session(database, a_session(name))
        await turn_with_text(database, f"{name}-t", 1, 4, ended_ms=None, session_id=name)
    await store_session(database, a_session("z-over"))
    await turn_with_text(database, "z-t", 1, 4, ended_ms=1000, session_id="z-over")
    await database.submit(events.make_expiry(events_before_ms=5000, keys_before_ms=0, limit=2))
    assert (await kept(database, "z-over"))[0] == 4


async def test_a_cursor_below_the_floor_gets_answers_first(database: Database) -> None:
    await store_session(database, a_session())
    await turn_with_text(database, "t1", 1, 5, ended_ms=1000)
    await turn_with_text(database, "t2", 6, 9, ended_ms=2000)
    await database.submit(events.make_expiry(events_before_ms=1500, keys_before_ms=0, limit=10))

    async def page(after: int, *, snapshots: bool) -> events.Page:
        return await database.read(
            lambda connection: events.page(connection, "s1", after=after, upto=9, limit=9, snapshots=snapshots)
        )

    assert [message.seq for message in (await page(2, snapshots=True)).answers] == [5]
    assert numbers_of(await page(2, snapshots=False), 2)[0][0] == 6
    assert (await page(5, snapshots=True)).answers == []
    for after, gap in ((4, True), (5, False)):
        assert await database.read(partial(events.has_gap, session_id="s1", after=after)) is gap


async def test_old_keys_are_forgotten(database: Database) -> None:
    from app.storage import turns

    unit = UnitOfWork("s1")
    for key, now in (("old", 10), ("new", 20)):
        turns.add_key(unit, key=key, body_hash=b"h", turn_id="t1", now=now)
    await database.submit(unit)
    await database.submit(events.make_expiry(events_before_ms=0, keys_before_ms=15, limit=10))
    found = [await database.read(partial(turns.find_key, session_id="s1", key=key)) for key in ("old", "new")]
    assert found == [None, (b"h", "t1")]
