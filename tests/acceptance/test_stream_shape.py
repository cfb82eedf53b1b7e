"""What a stream looks like: its frames, numbers, marks and headers, and what each reader asked to see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Frame, Stream, open_stream, text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Reply, Upstream, event

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "agents": {
        "assistant": {},
        "thinker": {"reasoning": {"show_thinking": True}},
        "debugger": {"reasoning": {"show_debug_info": True}},
        "whole": {"reasoning": {"enable_streaming": False}},
        "pieces": {"streaming": {"chunk_size": 4}},
        "silent": {"llm": "silence"},
    },
    "llms": {"silence": {"type": "scripted", "script": [{"text": "never", "first_delay_ms": 60_000}]}},
}

THINKING = [
    b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"
    for delta in ({"reasoning_content": "Hm"}, {"reasoning_content": "m."})
] + [event({"content": "Yes"}), event({"content": "."}), event({}, finish="stop"), b"data: [DONE]\n\n"]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def heartbeat(process: HectorServer) -> AsyncIterator[asyncio.Task[tuple[str, float]]]:
    """A reader of an agent that says nothing, put to wait before the first test: a heartbeat takes its time."""

    async def first_comment() -> tuple[str, float]:
        begin = time.monotonic()
        path, body = f"{process.base_url}/agents/silent/messages/stream", {"message": "Hello?"}
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as client,
            open_stream(client, "POST", path, json=body) as stream,
        ):
            return await stream.comment(), time.monotonic() - begin

    task = asyncio.create_task(first_comment())
    yield task
    task.cancel()
    await asyncio.wait([task])


async def test_a_silent_stream_gets_a_heartbeat_within_15_seconds(
    heartbeat: asyncio.Task[tuple[str, float]],
) -> None:
    comment, seconds = await heartbeat
    assert seconds <= 15.5
    word, _, said = comment.partition(" ")
    told = json.loads(said)
    assert (word, told["phase"], told["seq"]) == ("heartbeat", "model", 1)
    assert told["since_token_s"] > 5


async def test_every_delta_is_one_frame_and_numbers_run_without_a_hole(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=50)
    for turn in range(3):
        frames = await talk.stream_all("Hello")
        assert types_of(frames) == ["turn_started", "text", "turn_finished", "done"]
        assert [frame.chunk for frame in frames[1:-2]] == [f" t{number}" for number in range(50)]
        assert [frame.seq for frame in frames[:-1]] == list(range(turn * 52 + 1, turn * 52 + 53))
        assert frames[-1] == Frame("[DONE]")


async def test_the_first_frame_names_the_turn_and_the_last_tells_its_end(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    frames = await talk.stream_all("Hello")
    user, answer = await talk.messages()
    started, finished = frames[0].json, frames[-2].json
    assert started == {
        "chunk": "",
        "type": "turn_started",
        "turn_id": user["turn_id"],
        "session_id": talk.session_id,
        "message_id": user["message_id"],
        "message": "Hello",
    }
    assert finished.pop("timings")["total_ms"] > 0
    assert finished == {
        "chunk": "",
        "type": "turn_finished",
        "status": "completed",
        "turn_id": answer["turn_id"],
        "message_id": answer["message_id"],
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "source": "provider"},
    }
    assert [user["seq"], answer["seq"]] == [frames[0].seq, frames[-2].seq]


@pytest.mark.parametrize("word", ["stop", "length", "content_filter", "odd\0word\u20ac" * 20, None])
async def test_the_models_word_for_its_end_is_told_in_the_stream_the_events_and_the_turn(
    client: httpx.AsyncClient, upstream: Upstream, word: str | None
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(finish=word)
    finished = (await talk.stream_all("Hello"))[-2].json
    shown = word if word is None or len(word) < 64 else finished["finish_reason"]
    assert (finished["status"], finished["finish_reason"]) == ("completed", shown)
    assert len(shown or "") <= 64
    assert (await talk.turn(finished["turn_id"]))["finish_reason"] == shown
    assert (await talk.replay())[-2].json == finished
    events = good(await client.get(f"{talk.path}/events"))["events"]
    assert events[-1]["finish_reason"] == shown


async def test_a_model_that_used_up_its_tokens_before_the_first_word_has_failed(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    for tokens in ([], ["<think>Hm", "</think>"]):
        talk = await Talk.begin(client)
        upstream.answer(tokens=tokens, finish="length")
        frames = await talk.stream_all("Hello")
        error, finished = frames[-3].json, frames[-2].json
        assert (finished["status"], finished["finish_reason"]) == ("failed", "length")
        assert "max_tokens" in error["message"]
        assert finished["usage"]["source"] == "provider", "it is paid for all the same"


async def test_usage_is_counted_when_the_provider_does_not_say(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(usage=None)
    usage = (await talk.stream_all("Hello"))[-2].json["usage"]
    assert usage["source"] in ("counted", "estimated")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 1


async def test_the_headers_keep_proxies_from_holding_a_stream_back(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    async with talk.stream("Hello") as stream:
        headers = stream.response.headers
        await stream.rest()
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-session-id"] == talk.session_id
    assert "content-length" not in headers
    assert stream.retries == [1000]


async def test_the_first_byte_comes_before_the_model_says_anything(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(hang="before_headers")
    async with talk.stream("Hello") as stream:
        started = await stream.until("turn_started")
        assert started.json["message"] == "Hello"
        assert stream.retries == [1000]
    await talk.cancel()


async def test_a_token_reaches_the_reader_before_the_next_one_exists(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["one", "two"], hang="after_tokens")
    async with talk.stream("Hello") as stream:
        assert [frame.chunk for frame in await stream.take(2)] == ["one", "two"]
        assert not upstream.requests[0].is_finished
        await talk.cancel()


async def test_a_get_follows_the_session_through_many_turns_with_a_named_mark_after_each(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    async with talk.follow() as stream:
        for message in ("one", "two"):
            await talk.say(message)
        seen = [await anext(stream) for _ in range(12)]
    assert types_of(seen) == ["turn_started", "text", "turn_finished", "done"] * 2
    marks = [frame for frame in seen if frame.is_done]
    assert marks == [Frame("[DONE]", event="done")] * 2
    assert [frame.seq for frame in seen if not frame.is_done] == list(range(1, 11))


async def test_every_reader_of_a_session_sees_the_same_frames(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=60, delay=0.002)
    async with talk.follow() as first, talk.follow() as second:
        posted = await talk.stream_all("Hello")
        for stream in (first, second):
            await stream.until("done")
            assert stream.frames[:-1] == posted[:-1]


async def test_an_attached_reader_without_a_cursor_begins_at_the_start_of_the_running_turn(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    await talk.say("before")
    upstream.answer(tokens=5, hang="after_tokens")
    async with talk.stream("now") as posted:
        await posted.take(5)
        async with talk.follow("?until=turn_end") as late:
            await late.take(5)
            assert late.frames == posted.frames
            await talk.cancel()
            assert types_of(await late.rest())[-2:] == ["turn_finished", "done"]


async def test_frames_text_is_the_documentations_stream_and_nothing_else(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, agent="debugger")
    frames = await talk.stream_all("Hello", query="?frames=text")
    assert [frame.data for frame in frames] == ['{"chunk": " t0"}', '{"chunk": " t1"}',
                                                '{"chunk": " t2"}', "[DONE]"]  # fmt: skip
    again = await talk.replay(0, query="&frames=text")
    assert [frame.data for frame in again] == [frame.data for frame in frames]
    refused = await client.post(f"{talk.path}/messages/stream?frames=some", json={"message": "x"})
    assert reason(refused) == (422, "invalid_request")


async def test_a_failure_is_silent_under_frames_text_but_the_stream_still_ends_properly(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=5, cut_after=2)
    frames = await talk.stream_all("Hello", query="?frames=text")
    assert [frame.type for frame in frames] == ["text", "text", "done"]


async def test_debug_frames_are_shown_to_who_asks(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    plain = await talk.stream_all("Hello")
    assert "debug" not in types_of(plain)
    frames = await talk.stream_all("Hello", query="?debug=true")
    assert types_of(frames) == ["turn_started", "debug", "text", "debug", "turn_finished", "done"]
    lines = [frame.chunk for frame in frames if frame.type == "debug"]
    assert lines[0] == f"[Session: {talk.session_id}]\n"
    assert lines[1] == "[Message: 2]\n"
    assert lines[2].startswith("[Memory: ")
    assert lines[2].endswith(" tokens]\n")
    assert lines[3].startswith("[Response: ")
    assert text_of(frames) == " t0 t1 t2"
    assert [frame.seq for frame in frames[:-1]] == list(range(6, 15))


async def test_an_agent_can_show_debug_frames_always(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="debugger")
    assert "debug" in types_of(await talk.stream_all("Hello"))


async def test_thinking_is_shown_only_by_an_agent_that_shows_it(client: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.default = Reply(raw=THINKING)
    talk = await Talk.begin(client, agent="thinker")
    frames = await talk.stream_all("Hello")
    assert types_of(frames) == ["turn_started", "thinking", "text", "turn_finished", "done"]
    assert "".join(frame.chunk for frame in frames if frame.type == "thinking") == "Hmm."
    assert text_of(frames) == "Yes."
    hiding = await Talk.begin(client)
    hidden = await hiding.stream_all("Hello")
    assert types_of(hidden) == ["turn_started", "text", "turn_finished", "done"]
    assert [frame.seq for frame in hidden[:-1]] == [1, 4, 5, 6]  # left out, not renumbered
    for session in (talk, hiding):
        assert await session.texts() == ["Hello", "Yes."]


async def test_without_streaming_the_whole_answer_is_one_chunk(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="whole")
    upstream.answer(tokens=40)
    frames = await talk.stream_all("Hello")
    assert [frame.type for frame in frames] == ["turn_started", "text", "turn_finished", "done"]
    assert frames[1].chunk == (await talk.texts())[1]
    assert [frame.seq for frame in frames[:-1]] == [1, 41, 42]
    again = await talk.replay(0)
    assert again[:-1] == frames[:-1]


async def test_a_chunk_size_cuts_and_joins_the_models_deltas(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="pieces")
    upstream.answer(tokens=["a", "bcdefghij", "kl", "𝕏é"])
    frames = [frame for frame in await talk.stream_all("Hello") if frame.type == "text"]
    assert "".join([frame.chunk for frame in frames]) == "abcdefghijkl𝕏é"
    assert all(len(frame.chunk) <= 4 for frame in frames)
    assert frames[-1].id == "5"


async def test_the_events_are_also_a_list_with_pages(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    frames = (await talk.stream_all("Hello"))[:-1]
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = good(await client.get(f"{talk.path}/events?after={after}&limit=2"))
        found += page["events"]
        after = page["next_after"]
    assert [(each["seq"], each["type"], each["chunk"]) for each in found] == [
        (frame.seq, frame.type, frame.chunk) for frame in frames
    ]
    assert all(each["created_at"] for each in found)


async def test_a_client_may_ask_for_the_head_of_nothing_and_gets_no_stream(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client)
    response = await client.head(f"{talk.path}/messages/stream")
    assert response.status_code in (200, 204, 405)
    assert response.content == b""


async def test_many_readers_leave_and_none_is_missed(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=30, delay=0.005)

    async def look(count: int) -> Stream:
        async with talk.follow("?after=0") as stream:
            await stream.take(count)
            return stream

    looking = asyncio.gather(*[look(count) for count in range(1, 20)])
    posted, _ = await asyncio.gather(talk.stream_all("Hello"), looking)
    assert posted[-2].json["status"] == "completed"
