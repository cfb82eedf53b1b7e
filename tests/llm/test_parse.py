"""However the provider frames it and wherever the reads cut it: the same text, and never invalid JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.turn import Usage
from app.llm.base import Delta, TextDelta, ThinkingDelta
from app.llm.dialect import words_of
from app.llm.parse import MAX_EVENT_BYTES, StreamParser
from app.llm.whole import WholeParser

FRAMES = [
    '{{"id":"c","choices":[{{"index":0,"delta":{{"content":{}}},"logprobs":null,"finish_reason":null}}]}}',
    '{{"choices": [{{"index": 0, "delta": {{"role": "assistant", "content": {}}}, "finish_reason": null}}]}}',
    '{{"choices":[{{"finish_reason":null,"index":0,"delta":{{"content":{}}}}}],"created":1,"id":"c","model":"m"}}',
    '{{"choices":[{{"delta":{{"content":{},"role":"assistant"}},"index":0}}],"object":"chat.completion.chunk"}}',
    '{{"choices":[{{"index":0,"delta":{{"content":{},"tool_calls":null}},"finish_reason":null}}],"usage":null}}',
    '{{"choices":[{{"delta":{{"content":{}}}}}],"usage":{{"prompt_tokens":1,"completion_tokens":2}}}}',
    '{{"choices":[{{"index":1,"delta":{{"content":"other"}}}},{{"index":0,"delta":{{"content":{}}}}}]}}',
]
TAIL = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n'
    b"data: [DONE]\n\n"
)
# Text that looks like the protocol, and all that JSON may escape.
NASTY = st.sampled_from(
    [
        "data: ",
        '"delta":{"content":"',
        '"}',
        "\n\n",
        "\\",
        '\\"',
        "\r",
        "\u2028",
        "😀",
        "é",
        "[DONE]",
        "\x00",
        "/",
        '"choices":[{"index":0,',
    ]
)
TEXTS = st.lists(
    st.lists(st.one_of(NASTY, st.text(max_size=5)), max_size=4).map("".join),
    max_size=12,
)


class SlowParser(StreamParser):
    """Every event through the JSON parser."""

    __slots__ = ()

    def _same_frame(self, block: bytes) -> list[bytes] | None:
        return None

    def _plain(self, block: bytes) -> list[bytes] | None:
        return None


def events(texts: Sequence[str], frame: str = FRAMES[0], *, ascii: bool = False) -> list[bytes]:
    return [f"data: {frame.format(json.dumps(text, ensure_ascii=ascii))}\n\n".encode() for text in texts]


def fed(parser: StreamParser, reads: Sequence[bytes]) -> list[Delta]:
    deltas: list[Delta] = []
    for read in reads:
        deltas += parser.feed(read)
    return deltas + parser.finish()


def said(deltas: Sequence[Delta], kind: type[Delta] = TextDelta) -> str:
    chunks = [chunk for delta in deltas if type(delta) is kind for chunk in delta.chunks]
    for chunk in chunks:
        json.loads(b'"%s"' % chunk).encode()  # each is whole by itself: half a pair cannot be encoded
    return str(json.loads(b'"%s"' % b"".join(chunks)))


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(bounds)]


@given(TEXTS, st.sampled_from(FRAMES), st.booleans(), st.lists(st.integers(0, 10_000), max_size=6))
def test_any_cut_of_any_frames_gives_the_text(texts: list[str], frame: str, ascii: bool, places: list[int]) -> None:
    stream = b"".join(events(texts, frame, ascii=ascii)) + TAIL
    for made in (StreamParser, SlowParser):
        parser = made()
        deltas = fed(parser, cut(stream, places))
        assert said(deltas) == "".join(texts).replace("\0", "\ufffd")
        assert sum(len(delta.chunks) for delta in deltas) == sum(bool(text) for text in texts)
        assert parser.done
        assert parser.failure is None
        assert parser.end.finish_reason == "stop"
        assert parser.end.usage == Usage(3, 4, "provider")


@given(TEXTS, st.lists(st.sampled_from(FRAMES), min_size=1, max_size=12), st.data())
def test_frames_of_all_makes_in_one_stream_give_the_text(
    texts: list[str], frames: list[str], data: st.DataObject
) -> None:
    made = [events([text], frames[n % len(frames)])[0] for n, text in enumerate(texts)]
    odd = [b": keep-alive\n\n", b"event: message\n", b"\n", b"data:\n\n", b"id: 7\nretry: 10\n\n"]
    stream = b"".join(data.draw(st.sampled_from([b"", b"", *odd])) + event for event in made) + TAIL
    if data.draw(st.booleans()):
        stream = stream.replace(b"\n", data.draw(st.sampled_from([b"\r\n", b"\r"])))
    places = data.draw(st.lists(st.integers(0, 10_000), max_size=6))
    assert said(fed(StreamParser(), cut(stream, places))) == "".join(texts).replace("\0", "\ufffd")


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_garbage_never_raises_and_never_gives_invalid_chunks(garbage: bytes, places: list[int]) -> None:
    stream = b"".join(events(["a", "b"])) + garbage + b"".join(events(["c"]))
    said(fed(StreamParser(), cut(stream, places)))


@given(st.binary(max_size=12), st.integers(0, 3))
def test_any_bytes_between_the_quotes_give_chunks_that_are_json(inside: bytes, place: int) -> None:
    made = events(["a", "b", "c", "d"])
    made.insert(place, made[0].replace(b'"a"', b'"%s"' % inside))
    for reads in (made, [b"".join(made)]):
        said(fed(StreamParser(), reads))


@given(st.text(alphabet="a😀é\U0001f468\u200d", min_size=1, max_size=6), st.integers(1, 7))
def test_a_surrogate_pair_split_over_deltas_is_one_character_again(text: str, size: int) -> None:
    units = text.encode("utf-16-le")
    pieces = [units[i : i + 2 * size].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2 * size)]
    made = events(pieces, ascii=True)
    for reads in (made, [b"".join(made)]):
        assert said(fed(StreamParser(), [*reads, TAIL])) == text


def test_half_a_pair_that_stays_alone_becomes_the_replacement_character() -> None:
    for pieces in (["a\ud83d"], ["a\ud83d", "b"], ["\ude00a"]):
        text = said(fed(StreamParser(), [*events(pieces, ascii=True), TAIL]))
        assert text == "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def test_plain_texts_keep_the_providers_own_escapes() -> None:
    own = b"\\u00e9\\/\\ud83d\\ude00"
    made = [event.replace(b"@", own) for event in events(["a", "@", "@", "@"])]
    for reads in (made, [b"".join(made)], [made[0], b"".join(made[1:])]):
        chunks = [chunk for delta in fed(StreamParser(), reads) for chunk in delta.chunks]
        assert chunks == [b"a", own, own, own]


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_nul_becomes_the_replacement_character_for_no_postgres_can_store_it(size: int) -> None:
    stream = b"".join([*events(["a", "\0", "b\0c", "\\u0000", "d"]), TAIL])
    reads = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert said(fed(StreamParser(), reads)) == "a\ufffdb\ufffdc\\u0000d"


def test_invalid_utf8_is_replaced() -> None:
    made = events(["a", "b", "c"])
    made[1] = made[1].replace(b'"b"', b'"\xff\xc3"')
    assert said(fed(StreamParser(), [b"".join(made)])) == "a\ufffd\ufffdc"
    assert said(fed(StreamParser(), made)) == "a\ufffd\ufffdc"


def test_a_raw_control_character_inside_a_string_is_escaped() -> None:
    made = events(["a", "b", "c"])
    made[1] = made[1].replace(b'"b"', b'"\tb"')
    assert said(fed(StreamParser(), [b"".join(made)])) == "a\tbc"


def test_multi_line_data_is_one_event() -> None:
    stream = b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"x"}}]}\n\n'
    assert said(fed(StreamParser(), [stream])) == "x"


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_thinking_and_keeps_its_place(key: str) -> None:
    frame = FRAMES[0].replace('"content":', f'"content":null,"{key}":')
    deltas = fed(StreamParser(), [b"".join(events(["h", "m"], frame) + events(["yes", "!"]))])
    assert deltas == [ThinkingDelta([b"h", b"m"]), TextDelta([b"yes", b"!"])]


def test_content_in_parts_and_refusals_are_text() -> None:
    parts = b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"x"}]}}]}\n\n'
    refusal = b'data: {"choices":[{"delta":{"content":null,"refusal":"No."}}]}\n\n'
    assert said(fed(StreamParser(), [parts, refusal])) == "aNo."


def test_nulls_where_objects_belong_are_nothing() -> None:
    odd = [
        b'{"choices":null}',
        b'{"choices":[null]}',
        b'{"choices":[{"delta":null}]}',
        b'{"usage":{}}',
        b"{}",
    ]
    parser = StreamParser()
    assert fed(parser, [b"data: %s\n\n" % body for body in odd]) == []
    assert parser.failure is None
    assert not parser.is_complete


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"too busy","code":503}}', "too busy"),
        (b'{"error":"too busy"}', "too busy"),
        (b'{"object":"error","message":"too busy","code":503}', "too busy"),
        (
            b'{"choices":[{"index":0,"delta":{"content":"z"},"finish_reason":"error"}],"error":{"message":"m"}}',
            "m",
        ),
        (b"<html>", "not an event of the OpenAI dialect: <html>"),
    ],
)
def test_an_error_comes_after_what_was_said_before_it(body: bytes, words: str) -> None:
    made = [*events(["a", "b"]), b"data: %s\n\n" % body, *events(["never"])]
    for reads in (made, [b"".join(made)]):
        parser = StreamParser()
        deltas = fed(parser, reads)
        assert said(deltas).rstrip("z") == "ab"
        assert parser.failure is not None
        assert parser.failure.words == words
        assert parser.failure.status in (None, 503)


def test_nothing_counts_after_done() -> None:
    parser = StreamParser()
    assert said(fed(parser, [b"".join(events(["a"])) + TAIL + b"".join(events(["b"])), *events(["c"])])) == "a"


def test_a_last_event_without_its_empty_line_counts_if_it_is_whole() -> None:
    whole = events(["a", "b"])
    assert said(fed(StreamParser(), [b"".join(whole).rstrip()])) == "ab"
    assert said(fed(StreamParser(), [b"".join(whole)[:-9]])) == "a"


def test_an_event_without_end_does_not_fill_memory() -> None:
    parser = StreamParser()
    for _ in range(40):
        parser.feed(b"data: " + b"x" * (MAX_EVENT_BYTES // 8))
        assert len(parser._rest) + parser._middle_size <= MAX_EVENT_BYTES
    assert parser.finish() == []
    assert parser.failure is None


def test_a_whole_answer_is_parsed_at_its_end() -> None:
    parser = WholeParser()
    assert parser.feed(b'{"choices":[{"message":{"content":"a\\nb"},') == []
    assert parser.feed(b'"finish_reason":"stop"}],"usage":{"completion_tokens":2}}') == []
    assert parser.finish() == [TextDelta([b"a\\nb"])]
    assert parser.done
    assert parser.end.usage == Usage(0, 2, "provider")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "a"}}, "a"),
        ([{"error": {"message": "a"}}], "a"),
        ({"detail": "a"}, "a"),
        ({"message": "a"}, "a"),
        ({"detail": [{"loc": ["é"]}]}, '{"loc": ["é"]}'),
        ({"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}, "body.x: Extra inputs"),
        ({"base_resp": {"status_code": 1, "status_msg": "a"}}, "a"),
        ("a", "a"),
    ],
)
def test_words_are_found_in_all_shapes_of_error(body: object, words: str) -> None:
    assert words_of(body) == words
