"""A commit fails at each place where a session changes: what was not stored is not shown, and everything goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from app.domain.errors import HectorError
from app.domain.session import SessionStatus
from app.domain.turn import TurnState
from app.events.log import BLOCK, SessionLog
from app.storage import sessions
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.house import House, frames_of, until

AGENT = {"memory": {"longterm": {"storage_scope": "session", "batch_size": 2, "auto_recall": False}}}


class Faults:
    """Refuses the units of a story whose place is in `places`; counts them all."""

    def __init__(self, *places: int) -> None:
        self.places = places
        self.seen = 0
        self.told: list[str] = []

    def refuses(self, unit: UnitOfWork) -> bool:
        self.seen += 1
        return self.seen in self.places

    async def tell(self, request: Awaitable[object]) -> object:
        """What a client asks for; being refused is an answer."""
        try:
            return await request
        except HectorError as error:
            self.told.append(error.reason)
            return None


async def story(house: House, faults: Faults) -> SessionLog:
    """Every kind of change: a description, a turn with more text than a block of numbers, one that waits, one replaced,
    one cancelled in the queue, a message without a turn, memories, an end that waits for a turn."""
    log = await house.session("s1")
    house.database.refuses = faults.refuses
    await faults.tell(house.sessions.describe(log, title="One", metadata={}))
    first = house.start(log, "first")
    begun = await faults.tell(first)
    await faults.tell(house.start(log, "waits"))
    doomed = await faults.tell(house.start(log, "is cancelled"))
    if begun is not None:
        stream = await house.llm.answering(1)
        for number in range(BLOCK // 8):
            stream.say(*[f" {number}"] * 12)
        await until(lambda: log.tape is None or len(log.tape.text()) > BLOCK)
    if doomed is not None:
        await faults.tell(house.stopping.cancel(log, turn_id=doomed.turn_id))  # type: ignore[attr-defined]
    await answer_all(house, log)
    await faults.tell(house.admission.add(log, house.agent, "user", "A note"))
    await faults.tell(house.start(log, "last"))
    await faults.tell(house.endings.end(log))
    await answer_all(house, log)
    await until(lambda: log.is_over or (log.session.status is SessionStatus.ACTIVE and log.session.ending is None))
    await house.turn_memory.settled()
    await house.final.settled()
    return log


async def answer_all(house: House, log: SessionLog) -> None:
    """Let the model answer whatever is asked until nothing is open."""
    asked = 0
    while log.is_busy:
        while asked < len(house.llm.streams):
            house.llm.streams[asked].say("Said.")
            house.llm.streams[asked].finish()
            asked += 1
        await asyncio.sleep(0.001)


async def is_consistent(house: House, log: SessionLog) -> None:
    """Rows, the warm copy and what readers see say the same."""
    house.database.refuses = None
    if log.session.status is SessionStatus.ACTIVE and log.session.ending is None:
        await house.sessions.describe(log, title="Checked", metadata={})

    async def agree() -> bool:  # what a session leaves to memory is written after its end
        row = await house.database.read(lambda connection: sessions.find(connection, "s1"))
        return row == replace(log.session, last_seq=row.last_seq if row else 0)

    await until(agree)
    seen = await frames_of(house.read(log))
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))
    log.drop_tail()
    assert [frame for frame in await frames_of(house.read(log)) if frame[1] != "text"] == [
        frame for frame in seen if frame[1] != "text"
    ]
    texts = await house.texts(log)
    assert len(texts) == log.session.message_count
    began = [frame["turn_id"] for _, kind, frame in seen if kind in ("turn_started", "turn_queued")]
    ended = [frame["turn_id"] for _, kind, frame in seen if kind == "turn_finished"]
    assert sorted(set(began)) == sorted(ended), "every accepted turn has one end"
    for turn_id in ended:
        assert (await house.stored(log, turn_id)).state in (
            TurnState.COMPLETED,
            TurnState.CANCELLED,
            TurnState.FAILED,
        )


async def units_of_the_story() -> int:
    house, faults = House(agent=AGENT), Faults()
    await house.open()
    await story(house, faults)
    await house.close()
    assert faults.told == []
    return faults.seen


@pytest.mark.parametrize("refusals", [1, 6], ids=["once", "until readers are told"])
async def test_whichever_commit_fails_nothing_is_shown_that_is_not_stored(
    monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    monkeypatch.setattr("app.turns.finish.RETRY_SECONDS", (0.001,) * 5)
    monkeypatch.setattr("app.turns.finish.PATIENT_RETRY_SECONDS", 0.001)
    monkeypatch.setattr("app.turns.runner.RETRY_START_SECONDS", 0.001)
    monkeypatch.setattr("app.sessions.ending.RETRY_SECONDS", 0.001)
    count = await units_of_the_story()
    assert count > 12, "the story has become shorter than what it is about"
    for place in range(1, count + 1):
        house, faults = House(agent=AGENT), Faults(*range(place, place + refusals))
        await house.open()
        log = await story(house, faults)
        await is_consistent(house, log)
        await house.close()
