"""A send that is begun in one tick and seen through in another."""

from __future__ import annotations

import asyncio

import pytest

from app.doors.direct_send import Begun


async def test_what_never_waits_is_done_at_once() -> None:
    sent: list[str] = []

    async def send() -> None:
        sent.append("text")

    begun = Begun(send())
    assert begun.is_done
    assert sent == ["text"]


async def test_what_waits_goes_on_where_it_was_when_it_is_awaited() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    steps: list[str] = []

    async def send() -> None:
        steps.append("begun")
        await gate
        await asyncio.sleep(0)
        steps.append("ended")

    begun = Begun(send())
    assert (begun.is_done, steps) == (False, ["begun"])
    gate.set_result(None)
    await begun
    assert (begun.is_done, steps) == (True, ["begun", "ended"])


async def test_a_failure_reaches_whoever_awaits_whenever_it_comes() -> None:
    async def refuse() -> None:
        raise OSError("gone")

    async def refuse_later() -> None:
        await asyncio.sleep(0)
        raise OSError("gone later")

    for sending in (refuse(), refuse_later()):
        begun = Begun(sending)
        assert not begun.is_done
        with pytest.raises(OSError, match="gone"):
            await begun


async def test_a_cancel_reaches_the_send_that_waits() -> None:
    reached = asyncio.Event()

    async def send() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            reached.set()
            raise

    begun = Begun(send())

    async def see_through() -> None:
        await begun

    task = asyncio.ensure_future(see_through())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached.is_set()
