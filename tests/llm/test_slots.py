"""First come, first served, and every slot comes back."""

from __future__ import annotations

import asyncio

import pytest

from app.llm.slots import Slots


async def test_slots_go_to_those_who_wait_in_their_order() -> None:
    slots, order = Slots(1), []
    first = await slots.acquire()

    async def wait(number: int) -> None:
        slot = await slots.acquire()
        order.append(number)
        await asyncio.sleep(0)
        slot.release()

    waiting = [asyncio.ensure_future(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (slots.taken, slots.waiting) == (1, 5)
    first.release()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_a_newcomer_does_not_overtake_the_queue() -> None:
    slots = Slots(1)
    first = await slots.acquire()
    waiting = asyncio.ensure_future(slots.acquire())
    await asyncio.sleep(0)
    first.release()
    newcomer = asyncio.ensure_future(slots.acquire())
    await asyncio.sleep(0)
    assert waiting.done()
    assert not newcomer.done()
    waiting.result().release()
    (await newcomer).release()
    assert slots.taken == 0


async def test_a_second_release_does_nothing() -> None:
    slots = Slots(2)
    one, _ = await slots.acquire(), await slots.acquire()
    one.release()
    one.release()
    assert slots.taken == 1


@pytest.mark.parametrize("is_handed_over", [True, False])
async def test_a_cancelled_wait_takes_no_slot(is_handed_over: bool) -> None:
    slots = Slots(1)
    first = await slots.acquire()
    left, stayed = (asyncio.ensure_future(slots.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    if is_handed_over:
        first.release()
        left.cancel()
    else:
        left.cancel()
        await asyncio.sleep(0)
        assert slots.waiting == 1
        first.release()
    with pytest.raises(asyncio.CancelledError):
        await left
    (await stayed).release()
    assert slots.taken == 0


async def test_no_limit_never_waits() -> None:
    slots = Slots()
    taken = [await slots.acquire() for _ in range(1000)]
    assert slots.taken == 1000
    for slot in taken:
        slot.release()
    assert slots.taken == 0


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Slots(0)
