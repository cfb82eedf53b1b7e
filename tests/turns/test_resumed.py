"""A turn whose process dies again and again, and goes on each time: what its readers are told to take back."""

from __future__ import annotations

from pathlib import Path

from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.storage import messages
from tests.fixtures.house import House, frames_of, until
from tests.fixtures.tools import MadeTool, MadeToolbox

ASKS = Answer("I act.", calls=(ScriptedCall("act", {}),))
HANGS = Answer("I am about to say something", hang=True)


async def next_life(file: Path, before: House | None, *answers: Answer) -> House:
    """A house on the data of the one before, whose process has died."""
    if before is not None:
        await before.kill()
    house = House(
        file,
        llm=ScriptedLLM(answers=answers),
        toolbox=MadeToolbox(MadeTool("act")),
        agent={"reasoning": {"on_crash": "resume"}},
        ids=before.ids if before is not None else None,
        clock=before.clock if before is not None else None,
    )
    await house.open()
    if before is not None:
        assert await house.recover() == 0
    return house


async def steps(house: House, count: int) -> None:
    """Wait until so many steps are stored and the next one is being said."""
    log = await house.live.open("s1")
    assert log is not None

    async def is_so() -> bool:
        page = await house.database.read(lambda connection: messages.page(connection, "s1", limit=100))
        is_said = log.tape is not None and log.tape.text() == HANGS.text
        return is_said and sum([bool(message.tool_calls) for message in page]) == count

    await until(is_so)


async def test_a_snapshot_names_the_message_that_is_said_then(tmp_path: Path) -> None:
    file = tmp_path / "hector.db"
    first = await next_life(file, None, HANGS)
    await first.start(await first.session("s1"), "Go")
    await steps(first, 0)
    second = await next_life(file, first, ASKS, HANGS)
    await steps(second, 1)
    third = await next_life(file, second, ASKS, Answer("Done."))
    try:
        log = await third.live.open("s1")
        assert log is not None
        (turn,) = third.history.open_turns(log)
        assert (await turn.done).text == "Done."
        page = await third.database.read(lambda connection: messages.page(connection, "s1", limit=100))
        said = [message.message_id for message in page if message.role == "assistant"]
        shown = [frame for _, kind, frame in await frames_of(third.read(log)) if kind == "snapshot"]
        assert [frame["message_id"] for frame in shown] == said[:2]
        assert len(set(said)) == 3
    finally:
        await third.close()


async def test_a_turn_that_goes_on_after_its_first_step_does_not_say_that_its_first_token_came_then(
    tmp_path: Path,
) -> None:
    file = tmp_path / "hector.db"
    first = await next_life(file, None, ASKS, HANGS)
    turn = await first.start(await first.session("s1"), "Go")
    await steps(first, 1)
    second = await next_life(file, first, ASKS, Answer("Done."))
    try:
        log = await second.live.open("s1")
        assert log is not None
        (resumed,) = second.history.open_turns(log)
        assert (await resumed.done).text == "Done."
        timings = (await second.stored(log, turn.turn_id)).timings
        assert timings is not None
        assert (timings.first_token_ms, timings.total_ms is not None) == (None, True)
    finally:
        await second.close()
