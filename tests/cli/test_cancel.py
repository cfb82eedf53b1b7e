"""hector cancel: the running answer, a message that waits, or all of them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.cli.command import Hector

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def queue_up(http: httpx.AsyncClient, session: str, *messages: str) -> list[str]:
    """Turns of a session in which the first message is answered for ever and the others wait."""
    await http.post("/agents/hanging/sessions", json={"session_id": session})
    path = f"/agents/hanging/sessions/{session}/messages"
    answers = [await http.post(path, json={"message": message, "background": True}) for message in messages]
    return [answer.json()["turn_id"] for answer in answers]


async def about(http: httpx.AsyncClient, session: str) -> tuple[Any, list[str]]:
    found = (await http.get(f"/agents/hanging/sessions/{session}")).json()
    return found["turn"] and found["turn"]["message"], [turn["message"] for turn in found["queue"]]


async def test_a_message_that_waits_is_withdrawn_by_its_id(hector: Hector, http: httpx.AsyncClient) -> None:
    _, two, three = await queue_up(http, "by-id", "one", "two", "three")

    listed = await hector("info", "hanging", "by-id")
    result = await hector("cancel", "hanging", "by-id", "--turn", two)

    assert f"queued\t{two}, {three}\n" in listed.out
    assert (result.code, result.out) == (0, f"cancelled {two}\n")
    assert await about(http, "by-id") == ("one", ["three"])


async def test_all_is_the_answer_and_what_waits(hector: Hector, http: httpx.AsyncClient) -> None:
    turns = await queue_up(http, "by-all", "one", "two", "three")

    result = await hector("cancel", "hanging", "by-all", "--all")
    again = await hector("cancel", "hanging", "by-all", "--all")

    assert result.out.split()[1::2] == turns
    assert await about(http, "by-all") == (None, [])
    assert (again.code, again.out) == (0, "nothing to cancel\n")


async def test_without_an_option_the_next_message_begins(hector: Hector, http: httpx.AsyncClient) -> None:
    one, _ = await queue_up(http, "by-default", "one", "two")

    result = await hector("cancel", "hanging", "by-default", "--json")

    assert (result.json["turn_id"], result.json["status"]) == (one, "cancelled")
    assert await about(http, "by-default") == ("two", [])


async def test_unknown_turns_and_contradictions_are_told(hector: Hector, http: httpx.AsyncClient) -> None:
    await queue_up(http, "wrong", "one")

    unknown = await hector("cancel", "hanging", "wrong", "--turn", "turn_nowhere")
    both = await hector("cancel", "hanging", "wrong", "--turn", "turn_nowhere", "--all")

    assert unknown.code == 4
    assert both.code == 2
