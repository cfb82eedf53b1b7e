"""A model that refuses, breaks off, is silent or not there: the caller hears why, and what was said is kept."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.fixtures.sse import text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "llm": {"max_retries": 2, "first_token_timeout": "400ms", "idle_timeout": "400ms", "connect_timeout": "2s"},
    "llms": {
        "dead": {"type": "openai", "model": "m", "host": "http://127.0.0.1:9/v1", "api_key": "k", "max_retries": 0},
        "keyless": {"type": "openai", "model": "m", "api_key": ""},
        "broken": {"type": "scripted", "script": [{"text": "one two three", "fail_after": 2, "error": "no more"}]},
    },
    "agents": {
        "assistant": {},
        "dead": {"llm": "dead"},
        "keyless": {"llm": "keyless"},
        "broken": {"llm": "broken"},
    },
}


async def failed(talk: Talk, *, status: int, why: str) -> tuple[dict[str, Any], list[Any]]:
    """A waiting and a streaming caller of a model that fails: the error's details, and the stream."""
    refused = await talk.post("Hello")
    assert reason(refused) == (status, why), refused.text
    details = refused.json()["error"]["details"]
    assert (await talk.turn(details["turn_id"]))["status"] == "failed"
    frames = await talk.stream_all("Hello")
    assert types_of(frames)[-3:] == ["error", "turn_finished", "done"]
    error, finished = frames[-3].json, frames[-2].json
    assert (finished["status"], finished["reason"], error["reason"]) == ("failed", why, why)
    assert error["message"] == refused.json()["error"]["message"]
    return details, frames


async def test_a_refusal_is_told_in_the_providers_words_and_not_tried_again(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    for _ in range(2):
        upstream.answer(status=400, body=b'{"error": {"message": "this model is retired"}}')
    details, frames = await failed(talk, status=502, why="llm_error")
    assert "this model is retired" in details["detail"]
    assert details["provider_status"] == 400
    assert "this model is retired" in frames[-3].json["detail"]
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_passing_trouble_is_tried_again_before_the_first_token(
    client: httpx.AsyncClient, upstream: Upstream, status: int
) -> None:
    talk = await Talk.begin(client)
    for _ in range(2):
        upstream.answer(status=status, headers={"Retry-After": "0"})
    assert (await talk.say("Hello"))["response"] == " t0 t1 t2"
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("status", [500, 429])
async def test_a_lasting_trouble_is_told(client: httpx.AsyncClient, upstream: Upstream, status: int) -> None:
    talk = await Talk.begin(client)
    for _ in range(6):
        upstream.answer(status=status, headers={"Retry-After": "0"})
    details, _ = await failed(talk, status=502, why="llm_error")
    assert details["provider_status"] == status
    assert details["partial"] == ""
    assert (await talk.say("Still there?"))["response"] == " t0 t1 t2"


@pytest.mark.parametrize("trouble", [{"cut_after": 10}, {"error_after": 10}])
async def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came_and_never_begun_anew(
    client: httpx.AsyncClient, upstream: Upstream, trouble: dict[str, int]
) -> None:
    talk = await Talk.begin(client)
    for _ in range(2):
        upstream.answer(tokens=50, **trouble)
    ten = "".join([f" t{number}" for number in range(10)])
    details, frames = await failed(talk, status=502, why="llm_error")
    assert details["partial"] == ten
    assert text_of(frames) == ten
    assert len(upstream.requests) == 2
    answers = [message for message in await talk.messages() if message["role"] == "assistant"]
    assert [(answer["content"], answer["status"]) for answer in answers] == [(ten, "failed")] * 2


@pytest.mark.parametrize("where", ["before_headers", "after_headers"])
async def test_a_model_that_never_begins_is_given_up(client: httpx.AsyncClient, upstream: Upstream, where: str) -> None:
    talk = await Talk.begin(client)
    for _ in range(6):
        upstream.answer(hang=where)
    begin = time.monotonic()
    refused = await talk.post("Hello")
    assert reason(refused) == (504, "llm_timeout")
    assert refused.json()["error"]["code"] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - begin < 5
    upstream.reset()


async def test_a_model_that_falls_silent_in_mid_answer_is_given_up_and_its_text_kept(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    for _ in range(2):
        upstream.answer(tokens=4, hang="after_tokens")
    details, frames = await failed(talk, status=504, why="llm_timeout")
    assert details["partial"] == text_of(frames) == " t0 t1 t2 t3"
    await upstream.wait_for(active=0)


async def test_a_provider_that_is_not_there_is_said_to_be_unreachable(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client, agent="dead")
    details, frames = await failed(talk, status=502, why="llm_error")
    assert details["partial"] == ""
    assert "127.0.0.1:9" in frames[-3].json["message"]


async def test_a_missing_key_is_said_with_what_to_set(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client, agent="keyless")
    _, frames = await failed(talk, status=502, why="llm_error")
    assert "OPENAI_API_KEY" in frames[-3].json["message"]


async def test_a_one_shot_fails_as_openly(client: httpx.AsyncClient) -> None:
    refused = await client.post("/agents/broken/messages", json={"message": "Hello"})
    assert reason(refused) == (502, "llm_error")
    assert refused.json()["error"]["details"]["partial"].split() == ["one", "two"]


async def test_an_empty_answer_is_an_answer(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=[])
    frames = await talk.stream_all("Hello")
    assert text_of(frames) == ""
    assert frames[-2].json["status"] in ("completed", "failed")
    assert (await talk.say("Hello?"))["response"] == " t0 t1 t2"


async def test_one_failing_turn_leaves_the_others_alone(client: httpx.AsyncClient, upstream: Upstream) -> None:
    failing, healthy = await Talk.begin(client, agent="broken"), await Talk.begin(client)
    upstream.answer(tokens=50, delay=0.005)
    async with healthy.stream("Hello") as stream:
        await stream.take(3)
        assert reason(await failing.post("Hello")) == (502, "llm_error")
        frames = await stream.rest()
    assert frames[-2].json["status"] == "completed"
    assert good(await client.get("/ready"))


async def test_the_providers_key_is_told_to_nobody(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(status=401, body=b'{"error": {"message": "Incorrect API key provided: test-key."}}')
    refused = await talk.post("Hello")
    assert refused.status_code == 502
    assert "test-key" not in refused.text
