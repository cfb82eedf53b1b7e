"""One answer over a real socket: its end, its failures, its stop, and that no connection is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.domain.turn import Usage
from app.llm.base import LLMError, LLMRequest, LLMStopped, LLMTimeout, TextDelta, ThinkingDelta
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.presets import Quirks
from app.llm.stream import OpenAIStream
from tests.fixtures.upstream import Hang, Reply, Upstream, event

HELLO = LLMRequest([b'{"role":"user","content":"hello"}'])


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def make(upstream: Upstream) -> AsyncIterator[Any]:
    made: list[OpenAICompatible] = []

    def make(**settings: Any) -> OpenAICompatible:
        usual: dict[str, Any] = {"model": "m", "base_url": upstream.base_url, "api_key": "sk-secret", "max_retries": 0}
        made.append(OpenAICompatible("main", OpenAISettings(**usual | settings)))
        return made[-1]

    yield make
    for llm in made:
        await llm.close()


@pytest.fixture
def deaf_address() -> Iterator[str]:
    """Where a connection is neither made nor refused: the queue of the socket is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


async def text_of(stream: OpenAIStream) -> str:
    text = b""
    while deltas := await stream.read():
        for delta in deltas:
            assert isinstance(delta, TextDelta)
            text += b"".join(delta.chunks)
    return str(orjson.loads(b'"' + text + b'"'))


async def read_tokens(stream: OpenAIStream, count: int) -> None:
    while count > 0:
        count -= sum(len(delta.chunks) for delta in await stream.read())


# ---- a good answer --------------------------------------------------------------------------------------


async def test_an_answer_arrives_whole_with_its_end(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=200)
    stream = make().stream(HELLO)
    assert await text_of(stream) == "".join(f" t{n}" for n in range(200))
    assert stream.end.finish_reason == "stop"
    assert stream.end.usage == Usage(5, 7, "provider")
    assert await stream.read() == []


async def test_each_delta_is_a_chunk_of_its_own(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=50)
    stream, chunks = make().stream(HELLO), []
    while deltas := await stream.read():
        chunks += [chunk for delta in deltas for chunk in delta.chunks]
    assert chunks == [f" t{n}".encode() for n in range(50)]


async def test_thinking_comes_apart_from_the_text(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[event({"reasoning_content": "Hm"}), event({"content": "Yes"}, finish="stop")])
    stream, seen = make().stream(HELLO), []
    while deltas := await stream.read():
        seen += deltas
    assert seen == [ThinkingDelta([b"Hm"]), TextDelta([b"Yes"])]


async def test_the_request_says_what_the_settings_say(upstream: Upstream, make: Any) -> None:
    llm = make(temperature=0.5, max_tokens=9, quirks=Quirks(max_tokens_name="max_completion_tokens"))
    await text_of(llm.stream(LLMRequest([b'{"role":"system","content":"a"}', *HELLO.messages])))
    seen = upstream.requests[0]
    assert seen.json == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "hello"}],
    }
    assert seen.headers["authorization"] == "Bearer sk-secret"
    assert seen.headers["content-type"] == "application/json"
    assert not [name for name in seen.headers if name.startswith("x-stainless")]


@pytest.mark.parametrize(("settings", "wanted"), [({}, 40), ({"max_tokens": 9}, 9), ({"max_tokens": 900}, 40)])
async def test_a_request_may_ask_for_a_shorter_answer(
    upstream: Upstream, make: Any, settings: dict[str, int], wanted: int
) -> None:
    await text_of(make(**settings).stream(LLMRequest(HELLO.messages, max_tokens=40)))
    assert upstream.requests[0].json["max_tokens"] == wanted


async def test_a_model_that_thinks_is_not_cut_short(upstream: Upstream, make: Any) -> None:
    llm = make(max_tokens=900, quirks=Quirks(max_tokens_name="max_completion_tokens", has_temperature=False))
    await text_of(llm.stream(LLMRequest(HELLO.messages, max_tokens=40)))
    assert upstream.requests[0].json["max_completion_tokens"] == 900


async def test_nothing_is_sent_before_the_first_read(upstream: Upstream, make: Any) -> None:
    stream = make().stream(HELLO)
    await asyncio.sleep(0.02)
    assert upstream.connections == 0
    stream.close()
    with pytest.raises(LLMStopped):
        await stream.read()
    await stream.closed()
    assert upstream.connections == 0


async def test_the_connection_is_used_again_after_an_answer(upstream: Upstream, make: Any) -> None:
    llm = make()
    for _ in range(5):
        stream = llm.stream(HELLO)
        await text_of(stream)
        await stream.closed()
    assert upstream.connections == 1


async def test_a_body_kept_open_after_done_delays_nobody(upstream: Upstream, make: Any) -> None:
    upstream.answer(hang="after_done")
    stream = make().stream(HELLO)
    begun = time.monotonic()
    assert await text_of(stream) == " t0 t1 t2"
    assert time.monotonic() - begun < 0.5
    await stream.closed()
    await upstream.wait_for(aborts=1)


async def test_a_provider_that_answers_in_json_works_too(upstream: Upstream, make: Any) -> None:
    body = {
        "choices": [{"message": {"content": "Hé 😀"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1},
    }
    upstream.answer(body=orjson.dumps(body))
    stream = make().stream(HELLO)
    assert await text_of(stream) == "Hé 😀"
    assert stream.end.finish_reason == "stop"
    assert stream.end.usage == Usage(1, 0, "provider")


async def test_an_end_without_done_counts_after_a_finish_reason(upstream: Upstream, make: Any) -> None:
    upstream.answer(done=False)
    assert await text_of(make().stream(HELLO)) == " t0 t1 t2"


# ---- failures -------------------------------------------------------------------------------------------


async def test_a_cut_answer_keeps_what_came_and_then_fails(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=20, cut_after=10)
    stream = make(max_retries=3).stream(HELLO)
    await read_tokens(stream, 10)
    for _ in range(2):
        with pytest.raises(LLMError, match="the model's answer was cut off"):
            await stream.read()
    assert len(upstream.requests) == 1


async def test_a_body_that_ends_too_soon_was_cut(upstream: Upstream, make: Any) -> None:
    upstream.answer(finish=None, usage=None, done=False)
    stream = make().stream(HELLO)
    await read_tokens(stream, 3)
    with pytest.raises(LLMError, match="cut off"):
        await stream.read()


async def test_an_error_inside_the_stream_has_the_providers_words(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=9, error_after=5)
    stream = make().stream(HELLO)
    await read_tokens(stream, 5)
    with pytest.raises(LLMError) as caught:
        await stream.read()
    assert caught.value.detail == "the model fell over"
    await stream.closed()


async def test_a_refused_key_is_told_with_the_providers_words_and_without_the_key(
    upstream: Upstream, make: Any
) -> None:
    upstream.answer(status=401, body=b'{"error":{"message":"Incorrect API key provided: sk-secret"}}')
    with pytest.raises(LLMError) as caught:
        await make(key_name="SOME_KEY", max_retries=2).stream(HELLO).read()
    error = caught.value
    assert error.status == 401
    assert error.detail == "Incorrect API key provided: …"
    assert str(error) == (
        f"The model 'm' at {upstream.base_url} refused the key (check SOME_KEY), status 401: "
        "Incorrect API key provided: …"
    )
    assert not error.retryable
    assert len(upstream.requests) == 1


async def test_a_missing_key_names_what_to_set(make: Any) -> None:
    with pytest.raises(LLMError, match="needs a key: set SOME_KEY"):
        await make(api_key=None, needs_key=True, key_name="SOME_KEY").stream(HELLO).read()


async def test_a_model_without_a_key_gets_none(upstream: Upstream, make: Any) -> None:
    assert await text_of(make(api_key=None).stream(HELLO)) == " t0 t1 t2"


async def test_long_words_of_a_provider_are_bounded(upstream: Upstream, make: Any) -> None:
    upstream.answer(status=400, body=b"x" * 100_000)
    with pytest.raises(LLMError) as caught:
        await make().stream(HELLO).read()
    assert len(caught.value.detail or "") == 2000
    assert len(str(caught.value)) < 500


async def test_a_wrong_address_is_told_without_its_password(make: Any) -> None:
    with pytest.raises(LLMError, match=r"at http://127\.0\.0\.1:1/v1 cannot be reached") as caught:
        await make(base_url="http://user:pass@127.0.0.1:1/v1").stream(HELLO).read()
    assert caught.value.retryable
    assert "pass" not in f"{caught.value} {caught.value.detail}"


async def test_a_password_in_the_address_is_used_when_there_is_no_key(upstream: Upstream, make: Any) -> None:
    address = upstream.base_url.replace("http://", "http://user:pass@")
    await text_of(make(base_url=address, api_key=None).stream(HELLO))
    await text_of(make(base_url=address).stream(HELLO))
    authorizations = [seen.headers["authorization"] for seen in upstream.requests]
    assert authorizations == ["Basic dXNlcjpwYXNz", "Bearer sk-secret"]


# ---- attempts -------------------------------------------------------------------------------------------


async def test_a_failure_before_the_first_delta_is_tried_again(upstream: Upstream, make: Any) -> None:
    for status in (503, 429):
        upstream.answer(status=status, headers={"Retry-After-Ms": "5"})
    upstream.answer(tokens=5, cut_after=0)
    llm = make(max_retries=3)
    assert await text_of(llm.stream(HELLO)) == " t0 t1 t2"
    assert len(upstream.requests) == 4
    assert len({request.body for request in upstream.requests}) == 1


async def test_a_provider_that_wants_patience_gets_it(upstream: Upstream, make: Any) -> None:
    upstream.answer(status=429, headers={"Retry-After": "0.2"})
    begun = time.monotonic()
    assert await text_of(make(max_retries=1).stream(HELLO)) == " t0 t1 t2"
    assert time.monotonic() - begun >= 0.2


async def test_attempts_end_and_the_last_failure_is_told(upstream: Upstream, make: Any) -> None:
    upstream.default = Reply(status=503, headers={"Retry-After-Ms": "1"})
    with pytest.raises(LLMError) as caught:
        await make(max_retries=2).stream(HELLO).read()
    assert caught.value.status == 503
    assert len(upstream.requests) == 3


async def test_a_connection_that_breaks_when_used_again_is_replaced(upstream: Upstream, make: Any) -> None:
    llm = make(max_retries=1)
    await text_of(llm.stream(HELLO))
    upstream.answer(cut_after=-1)
    begun = time.monotonic()
    assert await text_of(llm.stream(HELLO)) == " t0 t1 t2"
    assert time.monotonic() - begun < 0.3
    assert upstream.connections == 2


async def test_closing_the_model_stops_its_streams(upstream: Upstream, make: Any) -> None:
    llm = make()
    upstream.answer(tokens=1, hang="after_tokens")
    upstream.answer(hang="before_headers")
    upstream.answer(hang="after_done")
    streams = [llm.stream(HELLO) for _ in range(3)]
    readers = []
    for number, stream in enumerate(streams, 1):
        readers.append(asyncio.ensure_future(text_of(stream)))
        await upstream.wait_for(requests=number)
    assert await readers[2] == " t0 t1 t2"
    await llm.close()
    results = await asyncio.gather(*readers[:2], return_exceptions=True)
    assert [type(result) for result in results] == [LLMStopped] * 2
    await upstream.wait_for(open_connections=0)


async def test_a_closed_model_answers_no_more(upstream: Upstream, make: Any) -> None:
    llm = make()
    await text_of(llm.stream(HELLO))
    await llm.close()
    await upstream.wait_for(open_connections=0)
    with pytest.raises(LLMError, match="is closed"):
        await llm.stream(HELLO).read()


# ---- patience -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hang", ["before_headers", "after_headers"])
async def test_a_model_that_does_not_begin_is_given_up(upstream: Upstream, make: Any, hang: str) -> None:
    upstream.answer(hang=hang)
    stream = make(first_token_timeout=0.1, idle_timeout=9, max_retries=3).stream(HELLO)
    with pytest.raises(LLMTimeout, match=r"did not begin to answer within 0\.1 s"):
        await stream.read()
    await stream.closed()
    await upstream.wait_for(aborts=1)
    assert len(upstream.requests) == 1


async def test_a_model_that_falls_silent_is_given_up(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    stream = make(first_token_timeout=9, idle_timeout=0.1).stream(HELLO)
    await read_tokens(stream, 3)
    with pytest.raises(LLMTimeout, match=r"sent nothing for 0\.1 s"):
        await stream.read()
    await upstream.wait_for(aborts=1)


async def test_a_slow_but_steady_model_is_not_given_up(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=10, delay=0.05)
    assert len(await text_of(make(first_token_timeout=0.2, idle_timeout=0.2).stream(HELLO))) == 30


async def test_the_pause_of_a_busy_reader_is_not_the_models(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=3, delay=0.01)
    stream = make(first_token_timeout=0.1, idle_timeout=0.1).stream(HELLO)
    await read_tokens(stream, 1)
    await asyncio.sleep(0.25)
    assert await text_of(stream) == " t1 t2"


async def test_a_connection_that_is_never_made_is_given_up(make: Any, deaf_address: str) -> None:
    stream = make(base_url=deaf_address, connect_timeout=0.1).stream(HELLO)
    with pytest.raises(LLMTimeout, match=r"could not be connected to within 0\.1 s"):
        await stream.read()


# ---- stop -----------------------------------------------------------------------------------------------


async def test_ten_stopped_answers_are_noticed_upstream_within_50_ms(upstream: Upstream, make: Any) -> None:
    upstream.default = Reply(tokens=1000, delay=0.01)
    llm = make()
    streams = [llm.stream(HELLO) for _ in range(10)]
    readers = [asyncio.ensure_future(text_of(stream)) for stream in streams]
    await upstream.wait_for(requests=10)
    await asyncio.sleep(0.1)
    stopped_at = time.monotonic()
    for stream in streams:
        stream.close()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [LLMStopped] * 10
    assert time.monotonic() - stopped_at < 0.05
    await upstream.wait_for(aborts=10, open_connections=0)
    assert max(abort.at for abort in upstream.aborts) - stopped_at < 0.05
    for stream in streams:
        await stream.closed()


async def test_a_second_close_changes_nothing(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=2, hang="after_tokens")
    stream = make().stream(HELLO)
    await read_tokens(stream, 2)
    for _ in range(2):
        stream.close()
        await stream.closed()
    for _ in range(2):
        with pytest.raises(LLMStopped):
            await stream.read()
    await upstream.wait_for(aborts=1, open_connections=0)


async def test_close_after_the_end_changes_nothing(upstream: Upstream, make: Any) -> None:
    stream = make().stream(HELLO)
    await text_of(stream)
    stream.close()
    assert await stream.read() == []
    await stream.closed()
    assert upstream.open_connections == 1


async def test_a_stop_while_connecting_ends_the_wait(make: Any, deaf_address: str) -> None:
    stream = make(base_url=deaf_address, connect_timeout=30).stream(HELLO)
    reader = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.05)
    stream.close()
    with pytest.raises(LLMStopped):
        await asyncio.wait_for(reader, 0.1)
    await stream.closed()


async def test_a_stop_while_waiting_for_headers_ends_the_request(upstream: Upstream, make: Any) -> None:
    upstream.answer(hang="before_headers")
    stream = make().stream(HELLO)
    reader = asyncio.ensure_future(stream.read())
    await upstream.wait_for(requests=1)
    stopped_at = time.monotonic()
    stream.close()
    with pytest.raises(LLMStopped):
        await reader
    await stream.closed()
    await upstream.wait_for(aborts=1, open_connections=0)
    assert upstream.aborts[0].at - stopped_at < 0.05


@pytest.mark.parametrize("ticks", range(12))
async def test_a_stop_at_any_moment_of_the_opening_leaves_no_connection(
    upstream: Upstream, make: Any, ticks: int
) -> None:
    upstream.default = Reply(tokens=1, hang="after_tokens")
    stream = make().stream(HELLO)
    reader = asyncio.ensure_future(text_of(stream))
    for _ in range(ticks):
        await asyncio.sleep(0)
    stream.close()
    with pytest.raises(LLMStopped):
        await reader
    await stream.closed()
    await upstream.wait_for(open_connections=0)


async def test_a_stop_while_backing_off_sends_no_further_request(upstream: Upstream, make: Any) -> None:
    upstream.answer(status=503, headers={"Retry-After": "30"})
    stream = make(max_retries=2).stream(HELLO)
    reader = asyncio.ensure_future(stream.read())
    await upstream.wait_for(requests=1)
    await asyncio.sleep(0.05)
    stream.close()
    with pytest.raises(LLMStopped):
        await asyncio.wait_for(reader, 0.1)
    assert len(upstream.requests) == 1


async def test_a_stop_while_waiting_for_a_slot_leaves_it_to_others(upstream: Upstream, make: Any) -> None:
    llm = make(max_concurrency=1)
    upstream.answer(tokens=1, hang="after_tokens")
    first, second, third = (llm.stream(HELLO) for _ in range(3))
    await read_tokens(first, 1)
    waiting = [asyncio.ensure_future(text_of(stream)) for stream in (second, third)]
    await asyncio.sleep(0.02)
    second.close()
    with pytest.raises(LLMStopped):
        await waiting[0]
    assert len(upstream.requests) == 1
    first.close()
    assert await waiting[1] == " t0 t1 t2"
    assert llm.slots.taken == 0


async def test_cancels_of_the_reader_leak_no_connection(upstream: Upstream, make: Any) -> None:
    llm = make()
    points: list[Hang] = ["before_headers", "after_tokens"]
    for number, hang in enumerate(points, 1):
        upstream.default = Reply(tokens=1, hang=hang)
        streams = [llm.stream(HELLO) for _ in range(10)]
        readers = [asyncio.ensure_future(text_of(stream)) for stream in streams]
        await upstream.wait_for(requests=10 * number)
        await asyncio.sleep(0.05)
        for _ in range(2):  # a tick apart
            for reader in readers:
                reader.cancel()
            await asyncio.sleep(0)
        results = await asyncio.gather(*readers, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
        for stream in streams:
            await stream.closed()
        await upstream.wait_for(open_connections=0)
    assert llm.slots.taken == 0


async def test_a_limit_is_kept_and_failures_give_their_slot_back(upstream: Upstream, make: Any) -> None:
    llm = make(max_concurrency=2)
    upstream.default = Reply(tokens=2, delay=0.01)
    upstream.answer(status=500)
    results = await asyncio.gather(*(text_of(llm.stream(HELLO)) for _ in range(9)), return_exceptions=True)
    assert [type(result) for result in results].count(LLMError) == 1
    assert upstream.connections <= 3
    assert llm.slots.taken == 0
