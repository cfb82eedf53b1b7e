"""The ledger has each turn once, whatever its session comes to."""

from __future__ import annotations

import asyncio

from sqlalchemy import select

from app.domain.turn import Usage
from app.sessions.draft import EPHEMERAL
from app.storage import tables
from tests.fixtures.house import ALICE, House, until


async def ledger(house: House) -> list[tuple[int, int, int]]:
    """(turns, prompt tokens, completion tokens) of each row."""
    columns = (tables.usage.c.turns, tables.usage.c.prompt_tokens, tables.usage.c.completion_tokens)
    rows = await house.database.read(lambda connection: connection.execute(select(*columns)).all())
    return [tuple(row) for row in rows]


async def test_a_terminate_that_comes_while_the_end_is_written_counts_the_turn_once(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    stream.say("Hi")
    house.database.hold()
    stream.finish(Usage(3, 2, "provider"))
    await until(lambda: house.database.held == 1)
    terminating = asyncio.create_task(house.terminations.terminate(log))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    await terminating
    assert turn.task is not None
    await turn.task
    await until(lambda: house.database.writer.waiting == 0)

    assert await ledger(house) == [(1, 3, 2)]


async def test_a_terminate_in_mid_answer_counts_what_was_used(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    stream.say("Hi")
    await until(lambda: log.tape is not None and log.tape.text() == "Hi")
    await house.terminations.terminate(log)
    assert turn.task is not None
    await turn.task
    await until(lambda: house.database.writer.waiting == 0)

    [(turns, prompt, completion)] = await ledger(house)
    assert (turns, prompt > 0, completion > 0) == (1, True, True)


async def test_a_session_in_memory_is_counted_in_the_real_ledger_once(house: House) -> None:
    log, _ = await house.sessions.create(ALICE, "assistant", draft=EPHEMERAL)
    turn = await house.start(log)
    stream = await house.llm.answering()
    stream.finish(Usage(3, 2, "provider"))
    await turn.done
    assert turn.task is not None
    await turn.task
    await until(lambda: house.database.writer.waiting == 0)

    assert await ledger(house) == [(1, 3, 2)]
