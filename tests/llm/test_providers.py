"""Providers are strangers: every rule of docs/providers.md about what they answer, over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.domain.turn import Usage
from app.llm import stream as stream_module
from app.llm.base import Delta, LLMError, LLMRequest, LLMTimeout, TextDelta, ThinkingDelta
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.stream import OpenAIStream
from tests.fixtures.upstream import Reply, Upstream, event

HELLO = LLMRequest([b'{"role":"user","content":"hello"}'])
STOP, DONE = event({}, finish="stop"), b"data: [DONE]\n\n"
SAYS = [event({"role": "assistant", "content": ""}), event({"content": "Hello"}), event({"content": " world"})]
HEARTBEAT = b": keep-alive\n\n"


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


async def read_all(stream: OpenAIStream) -> list[Delta]:
    seen: list[Delta] = []
    while deltas := await stream.read():
        seen += deltas
    return seen


def said(deltas: Sequence[Delta], kind: type[Delta] = TextDelta) -> str:
    chunks = [chunk for delta in deltas if type(delta) is kind for chunk in delta.chunks]
    return str(orjson.loads(b'"%s"' % b"".join(chunks)))


async def text_of(stream: OpenAIStream) -> str:
    return said(await read_all(stream))


def data(body: object) -> bytes:
    return b"data: " + (body if isinstance(body, bytes) else orjson.dumps(body)) + b"\n\n"


# ---- a failure in a body of status 200 -------------------------------------------------------------------

FAILURES = [
    ({"error": {"message": "the words", "type": "x"}}, "the words"),
    ({"error": "the words"}, "the words"),
    ({"errors": [{"message": "the words"}]}, "the words"),
    ({"object": "error", "message": "the words", "code": 40303}, "the words"),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": "the words"}}, "the words"),
    ({"code": 1113, "msg": "the words"}, "the words"),
    ({"code": "InvalidParameter", "message": "the words", "request_id": "r"}, "the words"),
    ({"error_code": 18, "error_msg": "the words"}, "the words"),
    ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "the words"}}, "the words"),
    ({"detail": "the words"}, "the words"),
    ({"detail": [{"loc": ["body", "x"], "msg": "the words"}]}, "body.x: the words"),
    ({"type": "about:blank", "title": "Bad", "status": 400, "detail": "the words"}, "the words"),
    ({"title": "the words", "status": 400}, "the words"),
    ({"choices": [], "message": "the words"}, "the words"),
    ([{"error": {"code": 400, "message": "the words", "status": "INVALID_ARGUMENT"}}], "the words"),
    ({"choices": [{"index": 0, "delta": {}, "error": {"message": "the words"}}]}, "the words"),
]


@pytest.mark.parametrize(("body", "words"), FAILURES, ids=lambda value: None if isinstance(value, str) else str(value))
@pytest.mark.parametrize("shape", ["json", "events", "with_done"])
async def test_a_failure_of_any_shape_in_a_body_of_status_200_fails_with_its_words(
    upstream: Upstream, make: Any, body: object, words: str, shape: str
) -> None:
    if shape == "json":
        upstream.answer(body=orjson.dumps(body))
    else:
        upstream.answer(raw=[data(body), *([DONE] if shape == "with_done" else [])])
    with pytest.raises(LLMError) as caught:
        await make().stream(HELLO).read()
    assert caught.value.detail == words
    assert words in str(caught.value)


async def test_an_event_called_error_is_one_whatever_is_in_it(upstream: Upstream, make: Any) -> None:
    for body in (b'{"text":"the words"}', b"the words"):
        upstream.answer(raw=[*SAYS, b"event: error\ndata: " + body + b"\n\n"])
        stream = make().stream(HELLO)
        await stream.read()
        with pytest.raises(LLMError, match="the words"):
            await read_all(stream)


async def test_a_good_status_beside_the_answer_is_no_failure(upstream: Upstream, make: Any) -> None:
    fine = {"base_resp": {"status_code": 0, "status_msg": "success"}}
    choice = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}
    upstream.answer(raw=[data({"choices": [choice], "code": 200, "msg": "ok", **fine}), DONE])
    assert await text_of(make().stream(HELLO)) == "Hello"


NOTHING: list[tuple[dict[str, Any], str]] = [
    ({"raw": [DONE]}, "sent no answer"),
    ({"raw": [data({"choices": []}), DONE]}, r"sent no answer: \{\"choices\":\[\]\}"),
    ({"raw": [data({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}), DONE]}, "sent no answer"),
    ({"raw": [HEARTBEAT, HEARTBEAT]}, "cut off"),
    ({"raw": []}, "cut off"),
    ({"body": b'{"choices":[]}'}, "sent no answer"),
    ({"body": b"{}"}, "sent no answer"),
    ({"body": b"null"}, "sent no answer"),
    ({"body": b'{"choices":[{"message"'}, r"sent no answer: \{\"choices\""),
    ({"body": b"upstream connect error, reset reason: overflow"}, "sent no answer: upstream connect error"),
]


@pytest.mark.parametrize(("reply", "words"), NOTHING, ids=lambda value: str(value))
async def test_a_body_without_a_choice_is_no_answer(
    upstream: Upstream, make: Any, reply: dict[str, Any], words: str
) -> None:
    upstream.answer(**reply)
    with pytest.raises(LLMError, match=words):
        await make().stream(HELLO).read()


async def test_a_body_without_a_choice_is_asked_for_again(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[data({"choices": []}), DONE])
    assert await text_of(make(max_retries=1).stream(HELLO)) == " t0 t1 t2"


async def test_an_empty_answer_with_a_finish_reason_is_an_answer(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[STOP, DONE])
    stream = make().stream(HELLO)
    assert await text_of(stream) == ""
    assert stream.end.finish_reason == "stop"


@pytest.mark.parametrize("before", [[], [event({"reasoning_content": "Hm"})], [event({"content": "<think>Hm"})]])
async def test_tokens_used_up_before_the_first_word_are_a_failure_with_advice(
    upstream: Upstream, make: Any, before: list[bytes]
) -> None:
    upstream.answer(raw=[*before, event({}, finish="length"), DONE])
    with pytest.raises(LLMError, match=r"limit of 100 tokens before the first word.*raise llms\.main\.max_tokens"):
        await read_all(make(max_tokens=100).stream(HELLO))


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop", "tool_calls", "eos", "error"])
async def test_the_finish_reason_arrives_as_the_provider_gave_it(upstream: Upstream, make: Any, reason: str) -> None:
    upstream.answer(finish=reason)
    stream = make().stream(HELLO)
    assert await text_of(stream) == " t0 t1 t2"
    assert stream.end.finish_reason == reason


# ---- the first bytes decide ------------------------------------------------------------------------------

WHOLE = orjson.dumps({"choices": [{"message": {"content": "Hello world"}, "finish_reason": "stop"}]})
LINES = b"\n".join(
    orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})
    for text, finish in (("Hello", None), (" world", "stop"))
)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain", "text/html", ""])
@pytest.mark.parametrize(
    "body", [WHOLE, LINES, b"\xef\xbb\xbf" + WHOLE, b"\n\n " + WHOLE, b"".join([*SAYS, STOP, DONE])], ids=range(5)
)
async def test_the_first_bytes_decide_and_not_the_content_type(
    upstream: Upstream, make: Any, kind: str, body: bytes
) -> None:
    upstream.answer(body=body, headers={"Content-Type": kind})
    upstream.answer(raw=[bytes([byte]) for byte in body], headers={"Content-Type": kind})
    for _ in range(2):
        assert await text_of(make().stream(HELLO)) == "Hello world"


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "application/json"])
async def test_a_web_page_fails_with_its_title(upstream: Upstream, make: Any, kind: str) -> None:
    page = b"<!doctype html><html><head><title>Sign in &amp; pay</title></head><body>x</body></html>"
    upstream.answer(body=page, headers={"Content-Type": kind})
    with pytest.raises(LLMError, match=r"llms\.main\.host.*a web page came instead of an answer: Sign in & pay"):
        await make(max_retries=2).stream(HELLO).read()
    assert len(upstream.requests) == 1


# ---- overload ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        {"type": "overloaded_error", "message": "Overloaded"},
        {"code": "rate_limit_exceeded", "message": "slow down"},
        {"code": "503", "message": "x"},
        {"status": "UNAVAILABLE", "message": "x"},
        {"type": "InternalServerError", "message": "x"},
        {"type": "engine_overloaded", "code": None, "message": "x"},
        {"code": "1305", "message": "Too many requests, please try again later"},
    ],
    ids=str,
)
async def test_overload_told_before_the_first_word_is_tried_again(
    upstream: Upstream, make: Any, error: dict[str, Any]
) -> None:
    upstream.answer(raw=[HEARTBEAT, event({"role": "assistant", "content": ""}), data({"error": error})])
    assert await text_of(make(max_retries=1).stream(HELLO)) == " t0 t1 t2"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    "error",
    [
        {"code": "insufficient_quota", "type": "insufficient_quota", "message": "exceeded your quota, try again"},
        {"code": 400, "message": "bad"},
        {"type": "invalid_request_error", "message": "bad"},
        {"message": "Insufficient balance. Recharge and try again"},
    ],
    ids=str,
)
async def test_what_does_not_pass_by_itself_is_not_tried_again(
    upstream: Upstream, make: Any, error: dict[str, Any]
) -> None:
    upstream.answer(raw=[data({"error": error})])
    with pytest.raises(LLMError):
        await make(max_retries=2).stream(HELLO).read()
    assert len(upstream.requests) == 1


async def test_overload_told_after_the_first_word_is_not_tried_again(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[*SAYS, data({"error": {"type": "overloaded_error", "message": "x"}})])
    with pytest.raises(LLMError):
        await read_all(make(max_retries=2).stream(HELLO))
    assert len(upstream.requests) == 1


# ---- after the finish reason ------------------------------------------------------------------------------


@pytest.fixture
def short_end(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(stream_module, "_END_SECONDS", 0.2)
    return 0.2


@pytest.mark.parametrize("after", [[], [HEARTBEAT] * 200, [data({"choices": []})] * 200, [data({"odd": 1})] * 200])
async def test_after_the_finish_reason_only_the_usage_is_awaited_and_not_for_long(
    upstream: Upstream, make: Any, short_end: float, after: list[bytes]
) -> None:
    upstream.answer(raw=[*SAYS, STOP, *after], delay=0.02, hang="after_done")
    stream = make(idle_timeout=9).stream(HELLO)
    began = time.monotonic()
    assert await text_of(stream) == "Hello world"
    assert 0.2 < time.monotonic() - began < 5
    assert stream.end.finish_reason == "stop"
    await stream.closed()
    await upstream.wait_for(aborts=1, open_connections=0)


async def test_usage_that_comes_in_time_counts(upstream: Upstream, make: Any, short_end: float) -> None:
    usage = data({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    upstream.answer(raw=[*SAYS, STOP, HEARTBEAT, usage], delay=0.02, hang="after_done")
    stream = make().stream(HELLO)
    assert await text_of(stream) == "Hello world"
    assert stream.end.usage == Usage(3, 4, "provider")


@pytest.mark.parametrize(
    "odd",
    [b"data: not json\n\n", data({"error": {"message": "no usage"}}), data({"msg": "x"}), b"event: error\ndata: x\n\n"],
)
async def test_odd_events_after_the_finish_reason_spoil_nothing(upstream: Upstream, make: Any, odd: bytes) -> None:
    upstream.answer(raw=[*SAYS, STOP, odd, DONE])
    assert await text_of(make().stream(HELLO)) == "Hello world"


async def test_text_after_a_finish_reason_counts_and_renews_the_wait(
    upstream: Upstream, make: Any, short_end: float
) -> None:
    early = [event({"content": f"{n}"}, finish="stop") for n in range(8)]
    upstream.answer(raw=[*early, DONE], delay=0.05)
    assert await text_of(make().stream(HELLO)) == "01234567"


async def test_a_default_of_two_seconds() -> None:
    assert stream_module._END_SECONDS == 2.0


# ---- patience ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filler", [HEARTBEAT, event({"content": ""}), data({"choices": []})])
async def test_comments_and_empty_deltas_do_not_keep_an_answer_alive(
    upstream: Upstream, make: Any, filler: bytes
) -> None:
    upstream.answer(raw=[*SAYS, *[filler] * 200], delay=0.02)
    stream = make(idle_timeout=0.2).stream(HELLO)
    with pytest.raises(LLMTimeout, match=r"sent nothing for 0\.2 s"):
        await read_all(stream)


async def test_before_the_first_word_heartbeats_keep_a_local_model_alive(upstream: Upstream, make: Any) -> None:
    reply = Reply(raw=[*[HEARTBEAT] * 20, *SAYS, STOP, DONE], delay=0.02)
    upstream.default = reply
    assert await text_of(make(first_token_timeout=0.2, is_patient=True).stream(HELLO)) == "Hello world"
    with pytest.raises(LLMTimeout, match=r"did not begin to answer within 0\.2 s"):
        await make(first_token_timeout=0.2).stream(HELLO).read()


async def test_a_local_model_that_falls_silent_before_the_first_word_is_given_up(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[HEARTBEAT], hang="after_tokens")
    with pytest.raises(LLMTimeout, match=r"did not begin to answer within 0\.2 s"):
        await make(first_token_timeout=0.2, is_patient=True).stream(HELLO).read()


# ---- what is refused --------------------------------------------------------------------------------------

REFUSALS: list[dict[str, Any]] = [
    {"status": 400, "body": b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}'},
    {"status": 422, "body": b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'},
    {"status": 400, "body": b'{"object":"error","message":"[{\'loc\': (\'body\', \'stream_options\')}]","code":400}'},
    {"body": b'{"error":{"message":"unknown field include_usage"}}'},
    {"raw": [data({"error": {"message": "stream_options is not supported", "code": 400}})]},
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=range(len(REFUSALS)))
async def test_refused_stream_options_are_left_out_from_then_on(
    upstream: Upstream, make: Any, refusal: dict[str, Any]
) -> None:
    llm = make()
    upstream.answer(**refusal)
    for _ in range(2):
        assert await text_of(llm.stream(HELLO)) == " t0 t1 t2"
    assert ["stream_options" in seen.json for seen in upstream.requests] == [True, False, False]


async def test_stream_options_in_what_a_user_said_stay(upstream: Upstream, make: Any) -> None:
    llm, talk = make(), LLMRequest([b'{"role":"user","content":",\\"stream_options\\":{\\"include_usage\\":true}"}'])
    upstream.answer(**REFUSALS[0])
    await text_of(llm.stream(talk))
    assert upstream.requests[1].json["messages"] == upstream.requests[0].json["messages"]


async def test_a_provider_that_refuses_without_them_as_well_is_not_asked_for_ever(
    upstream: Upstream, make: Any
) -> None:
    upstream.default = Reply(**REFUSALS[0])
    with pytest.raises(LLMError, match="stream_options"):
        await make(max_retries=2).stream(HELLO).read()
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "This model's maximum context length is 4096 tokens. However, you requested 8020 tokens"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        (413, "Request too large for model"),
        (400, "the request exceeds the available context size, try increasing it"),
        (422, "`inputs` tokens + `max_new_tokens` must be <= 4096; input is too long"),
    ],
)
async def test_a_request_that_does_not_fit_names_our_keys(
    upstream: Upstream, make: Any, status: int, words: str
) -> None:
    upstream.default = Reply(status=status, body=orjson.dumps({"error": {"message": words}}))
    keys = r"set llms\.main\.context_window \(now \d+, \w+\), or lower the agent's memory\.working\.budget"
    with pytest.raises(LLMError, match=rf"context: lower llms\.main\.max_tokens \(8000\), {keys}"):
        await make(max_tokens=8000).stream(HELLO).read()
    with pytest.raises(LLMError, match=rf"context: {keys}"):
        await make().stream(HELLO).read()


async def test_a_wrong_path_at_a_bare_host_is_explained(upstream: Upstream, make: Any) -> None:
    upstream.answer(status=404, body=b"404 page not found")
    with pytest.raises(LLMError, match=r"most APIs have a path, such as /v1: see llms\.main\.host"):
        await make(base_url=upstream.base_url.removesuffix("/v1")).stream(HELLO).read()


async def test_a_query_of_the_address_stays_behind_the_path(upstream: Upstream, make: Any) -> None:
    await text_of(make(base_url=upstream.base_url + "/?api-version=2024-06-01").stream(HELLO))
    assert upstream.requests[0].target == "/v1/chat/completions?api-version=2024-06-01"


# ---- thinking ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("escaped", [False, True])
async def test_a_think_tag_at_the_start_is_thinking(upstream: Upstream, make: Any, size: int, escaped: bool) -> None:
    text = '\n<think>\nHm, "é" 😀 < or </thinks>?\n</think>\n\nYes <think>no</think>.'
    made = [event({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    if escaped:  # as Go's encoder writes it
        made = [block.replace(b"<", b"\\u003c").replace(b">", b"\\u003e") for block in made]
    upstream.answer(raw=[*made, STOP, DONE])
    deltas = await read_all(make().stream(HELLO))
    assert said(deltas, ThinkingDelta) == 'Hm, "é" 😀 < or </thinks>?\n'
    assert said(deltas) == "Yes <think>no</think>."


@pytest.mark.parametrize("text", ["<thin", "<b>x</b>", " <thinking", "\n\n", "x <think>y</think>", "</think>x"])
async def test_what_is_no_think_tag_at_the_start_is_text(upstream: Upstream, make: Any, text: str) -> None:
    upstream.answer(raw=[event({"content": letter}) for letter in text] + [STOP, DONE])
    assert await text_of(make().stream(HELLO)) == text


async def test_thinking_without_an_end_stays_thinking(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[event({"content": "<think>Hm </thi"}), STOP, DONE])
    assert await read_all(make().stream(HELLO)) == [ThinkingDelta([b"Hm "]), ThinkingDelta([b"</thi"])]


async def test_an_empty_think_tag_shows_no_thinking(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[event({"content": "<think>"}), event({"content": "\n\n</think>\n\nYes"}), STOP, DONE])
    assert await read_all(make().stream(HELLO)) == [TextDelta([b"Yes"])]


async def test_a_tag_in_a_whole_answer_is_thinking_too(upstream: Upstream, make: Any) -> None:
    upstream.answer(body=WHOLE.replace(b"Hello world", b"<think>Hm</think>Yes"))
    assert await read_all(make().stream(HELLO)) == [ThinkingDelta([b"Hm"]), TextDelta([b"Yes"])]


async def test_what_a_half_tag_held_back_does_not_prevent_another_attempt(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[event({"content": "<thi"})], cut_after=0)
    assert await text_of(make(max_retries=1).stream(HELLO)) == " t0 t1 t2"


# ---- more than belongs to the answer ----------------------------------------------------------------------

PICTURE = {"images": [{"image_url": {"url": "data:image/png;base64," + "A" * 5_000_000}}]}


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
async def test_an_event_of_five_megabytes_is_skipped(upstream: Upstream, make: Any, ends: bytes) -> None:
    made = [*SAYS, event({"content": "", **PICTURE}), event({"content": "!"}), STOP, DONE]
    upstream.answer(raw=[block.replace(b"\n", ends) for block in made])
    assert await text_of(make().stream(HELLO)) == "Hello world!"


async def test_a_picture_in_a_whole_answer_does_no_harm(upstream: Upstream, make: Any) -> None:
    message = {"content": "Hello", **PICTURE}
    upstream.answer(body=orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))
    assert await text_of(make().stream(HELLO)) == "Hello"


@pytest.mark.parametrize("thinking", ["Hm", ""])
async def test_a_whole_message_at_the_end_is_not_said_twice(upstream: Upstream, make: Any, thinking: str) -> None:
    message = {"role": "assistant", "content": "Hello world", "reasoning_content": thinking}
    last = {"choices": [{"index": 0, "delta": {}, "message": message, "finish_reason": "stop"}]}
    before = [event({"reasoning_content": thinking})] if thinking else []
    for reads in ([*before, *SAYS, data(last), DONE], [b"".join([*before, *SAYS, data(last), DONE])]):
        upstream.answer(raw=reads)
        deltas = await read_all(make().stream(HELLO))
        assert said(deltas) == "Hello world"
        assert said(deltas, ThinkingDelta) == thinking


async def test_a_message_counts_where_nothing_was_said_before(upstream: Upstream, make: Any) -> None:
    message = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
    upstream.answer(raw=[event({"role": "assistant", "content": ""}), data(message), DONE])
    assert await text_of(make().stream(HELLO)) == "Hello"


# ---- sizes ------------------------------------------------------------------------------------------------


async def test_an_answer_without_end_fails(upstream: Upstream, make: Any) -> None:
    llm = make()
    llm.max_bytes = 2**20
    upstream.answer(tokens=100_000)
    with pytest.raises(LLMError, match="sent more than 1 MiB for one answer"):
        await read_all(llm.stream(HELLO))
    await upstream.wait_for(open_connections=0)


def test_the_size_limit_of_an_answer(make: Any) -> None:
    assert make().max_bytes == 32 * 2**20
    assert make(max_tokens=8000).max_bytes == 32 * 2**20
    assert make(max_tokens=200_000).max_bytes == 512 * 200_000


@pytest.mark.parametrize("wbits", [31, 15, -15], ids=["gzip", "zlib", "deflate"])
async def test_what_was_compressed_unasked_is_read(upstream: Upstream, make: Any, wbits: int) -> None:
    maker = zlib.compressobj(wbits=wbits)
    blocks = [maker.compress(block) + maker.flush(zlib.Z_SYNC_FLUSH) for block in [*SAYS, STOP, DONE]]
    encoding = "gzip" if wbits == 31 else "deflate"
    upstream.answer(raw=[*blocks, maker.flush()], headers={"Content-Encoding": encoding})
    assert await text_of(make().stream(HELLO)) == "Hello world"
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


async def test_a_small_body_that_unpacks_to_a_huge_one_ends_at_the_limit(upstream: Upstream, make: Any) -> None:
    llm = make()
    llm.max_bytes = 8 * 2**20
    maker = zlib.compressobj(wbits=31)
    bomb = maker.compress(b"".join(SAYS)) + b"".join(maker.compress(HEARTBEAT * 100_000) for _ in range(250))
    upstream.answer(body=bomb + maker.flush(), headers={"Content-Encoding": "gzip"})
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    beating = asyncio.ensure_future(beat())
    with pytest.raises(LLMError, match="sent more than 8 MiB for one answer"):
        await read_all(llm.stream(HELLO))
    beating.cancel()
    assert beats > 20  # the loop had its turns in between


async def test_a_compression_we_do_not_know_is_named(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[b"\x0b\x02"], headers={"Content-Encoding": "br"}, hang="after_tokens")
    with pytest.raises(LLMError, match=r"cannot be read: the answer is compressed \(br\), which was not asked for"):
        await make().stream(HELLO).read()
    await upstream.wait_for(open_connections=0)


async def test_a_damaged_compressed_body_was_cut(upstream: Upstream, make: Any) -> None:
    packed = gzip.compress(b"".join([*SAYS, STOP, DONE]))
    upstream.answer(raw=[packed[:40], b"\xff" * 40], headers={"Content-Encoding": "gzip"})
    with pytest.raises(LLMError, match="cut off"):
        await read_all(make().stream(HELLO))


# ---- counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", ["7", 7.0, [7], True, -1, 2**31, 2**63, 2**64, {"n": 7}])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
async def test_a_count_that_is_no_whole_number_in_range_is_not_told(
    upstream: Upstream, make: Any, count: Any, name: str
) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, name: count}
    body = orjson.dumps({"choices": [], "usage": {**usage, name: "@"}}).replace(b'"@"', _json(count))
    upstream.answer(raw=[*SAYS, STOP, data(body), DONE])
    stream = make().stream(HELLO)
    assert await text_of(stream) == "Hello world"
    assert stream.end.usage is None


@pytest.mark.parametrize("code", [2**63, 2**64, -1, "7", True, 2.5, [1], 200, 1305])
async def test_a_code_that_is_no_status_of_a_failure_is_not_told(upstream: Upstream, make: Any, code: Any) -> None:
    upstream.answer(raw=[data(b'{"error":{"message":"x","code":' + _json(code) + b"}}")])
    with pytest.raises(LLMError) as caught:
        await make().stream(HELLO).read()
    assert caught.value.status is None


def _json(value: object) -> bytes:
    return b"%d" % value if type(value) is int else orjson.dumps(value)
