"""What a session keeps of its turns once nobody reads them: the history for the next one, and nothing else."""

from __future__ import annotations

import gc

from app.events.run import Run
from app.events.tape import Segment, Tape
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import House, frames_of, runs_of, until

TOKENS = 8000


async def test_a_session_at_rest_keeps_the_text_of_a_long_answer_once(house: House) -> None:
    before = {id(found) for found in gc.get_objects()}
    log = await house.session()
    with house.read(log) as reading:
        turn = await house.start(log)
        stream = await house.llm.answering()
        for _ in range(TOKENS):
            stream.say(" word")
        stream.finish()
        await turn.done
        await until(lambda: log.tape is None)
        while len(await runs_of(reading)):
            pass
    assert len(log.session.session_id) < log.weight < 100_000
    assert house.live.bytes == log.weight
    del turn, stream, reading
    house.llm.streams.clear()
    await until(lambda: house.database.writer.waiting == 0)
    gc.collect()
    kept = [found for found in gc.get_objects() if id(found) not in before]
    assert [type(found).__name__ for found in kept if type(found) in (Run, Tape, Segment, OpenTurn)] == []
    with house.read(log) as reading:
        frames = await frames_of(reading)
    assert "".join([frame["chunk"] for _, _, frame in frames]) == " word" * TOKENS


async def test_a_one_shot_keeps_nothing_for_readers_either(house: House) -> None:
    log = await house.session(ephemeral=True)
    with house.read(log) as reading:
        await house.say(log, "Hello", "a", "b")
        live = await frames_of(reading)
    assert log.tail_from(0) is None
    with house.read(log) as reading:
        assert await frames_of(reading) == live
