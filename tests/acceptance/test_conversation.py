"""An agent remembers the conversation: what it is told with each message."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.domain.message import is_blank
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "agents": {
        "assistant": {"prompt": {"system_prompt": "Be brief."}},
        "forgetful": {"memory": {"working": {"strategy": "buffer_window", "window_size": 3}}},
        "frugal": {"memory": {"working": {"budget": 40}}},
    }
}


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    """What the model was last asked, without the system prompt."""
    messages = upstream.requests[-1].json["messages"]
    return [(message["role"], message["content"]) for message in messages if message["role"] != "system"]


async def test_the_second_message_goes_out_with_the_first_exchange(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    await talk.say("Hello, remember me?")
    await talk.say("What did we talk about earlier?")
    assert upstream.requests[-1].json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked(upstream) == [
        ("user", "Hello, remember me?"),
        ("assistant", " t0 t1 t2"),
        ("user", "What did we talk about earlier?"),
    ]


async def test_the_conversation_goes_on_after_a_restart(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("My name is Ada.")
    assert await server.stop() == 0
    await server.start()
    await talk.stream_all("What is my name?")
    assert asked(upstream) == [
        ("user", "My name is Ada."),
        ("assistant", " t0 t1 t2"),
        ("user", "What is my name?"),
    ]


async def test_other_sessions_stay_apart(client: httpx.AsyncClient, upstream: Upstream) -> None:
    one, two = await Talk.begin(client), await Talk.begin(client)
    await one.say("a secret")
    await two.say("anything?")
    assert asked(upstream) == [("user", "anything?")]


async def test_a_message_without_a_session_remembers_nothing(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for message in ("first", "second"):
        assert (await client.post("/agents/assistant/messages", json={"message": message})).is_success
    assert asked(upstream) == [("user", "second")]


@pytest.mark.parametrize("restarts", [False, True])
async def test_no_more_messages_are_sent_than_the_window_holds(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, restarts: bool
) -> None:
    talk = await Talk.begin(client, agent="forgetful")
    for number in range(4):
        await talk.say(f"message {number}")
    if restarts:
        await server.stop()
        await server.start()
    await talk.say("message 4")
    assert asked(upstream) == [("user", "message 3"), ("assistant", " t0 t1 t2"), ("user", "message 4")]
    assert len(await talk.messages()) == 10


async def test_no_more_tokens_of_history_are_sent_than_the_budget(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, agent="frugal")
    for number in range(6):
        await talk.say(f"message {number}")
    sent = asked(upstream)
    assert sent[-1] == ("user", "message 5")
    assert 1 < len(sent) < 7
    await talk.say("word " * 200)  # the newest always goes, alone if it must
    assert asked(upstream) == [("user", "word " * 200)]


async def test_a_cancelled_answer_stays_in_the_context_and_says_so(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["I was", " about to"], hang="after_tokens")
    async with talk.stream("Begin") as stream:
        await stream.take(2)
        assert (await talk.cancel())["status"] == "cancelled"
        finished = (await stream.rest())[-2]
    assert finished.json["status"] == "cancelled"
    kept = (await talk.messages())[-1]
    assert (kept["content"], kept["status"]) == ("I was about to", "cancelled")
    await talk.say("Go on")
    role, text = asked(upstream)[1]
    assert role == "assistant"
    assert text.startswith("I was about to")
    assert "stopped" in text.removeprefix("I was about to")


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_failed_answer_stays_in_the_context_and_says_so(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, restarts: bool
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["half", " an", " answer"], cut_after=2)
    assert reason(await talk.post("Begin")) == (502, "llm_error")
    if restarts:
        await server.stop()
        await server.start()
    await talk.say("Go on")
    role, text = asked(upstream)[1]
    assert role == "assistant"
    assert text.startswith("half an")
    assert "error" in text.removeprefix("half an")


async def test_a_message_whose_answer_never_began_is_still_part_of_the_conversation(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(status=400)
    assert reason(await talk.post("Anybody?")) == (502, "llm_error")
    await talk.say("Hello again")
    assert asked(upstream) == [("user", "Anybody?\n\nHello again")], "many models refuse two in a row"


@pytest.mark.parametrize("agent", ["assistant", "forgetful", "frugal"])
async def test_the_strictest_chat_template_takes_what_the_model_is_asked(
    client: httpx.AsyncClient, upstream: Upstream, agent: str
) -> None:
    """After failed, empty, blank and thinking answers, and after blank messages of an import."""
    said = [("assistant", "Hi."), ("user", " \n"), ("user", "one"), ("assistant", "\u200b"), ("assistant", "")]
    exported = {"messages": [{"role": role, "content": content} for role, content in said]}
    made = good(await client.post(f"/agents/{agent}/sessions/import", json=exported))
    talk = Talk(client, made["session_id"], agent=agent)
    replies: list[dict[str, Any]] = [
        {"tokens": []},
        {"status": 400},
        {"tokens": ["\n", " \u200b"]},
        {"cut_after": -1},
        {"tokens": ["<think>a</think>"]},
    ]
    for reply in replies:
        upstream.answer(**reply)
        await talk.post("two")
        _check_alternation(upstream)
    upstream.answer(tokens=["A."])
    await talk.say("three")
    await talk.say("four")
    _check_alternation(upstream)
    assert asked(upstream)[-2:] == [("assistant", "A."), ("user", "four")]


def _check_alternation(upstream: Upstream) -> None:
    messages = upstream.requests[-1].json["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["system", *["user", "assistant"] * (len(roles) // 2 - 1), "user"]
    assert not [message for message in messages if is_blank(message["content"])]


async def test_the_history_pages_backwards_through_every_message(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    for number in range(3):
        await talk.say(f"message {number}")
    found: list[str] = []
    before = ""
    while True:
        page = (await client.get(f"{talk.path}/messages?limit=4{before}")).json()
        found[:0] = [message["content"] for message in page["messages"]]
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    answer = " t0 t1 t2"
    assert found == ["message 0", answer, "message 1", answer, "message 2", answer]
