"""However a provider cuts and marks its tool calls: the same calls, in order, each with an id of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm.base import CallDelta, Delta, TextDelta, ThinkingDelta, ToolCall, unescape
from app.llm.calls import MAX_BYTES, MAX_CALLS, CallAssembler, TooManyCalls, has_whole_arguments
from app.llm.parse import MAX_EVENT_BYTES, StreamParser
from app.llm.think import ThinkTag
from app.llm.whole import WholeParser
from tests.llm.test_parse import TAIL, cut, fed, said

Fragment = dict[str, Any]
Asked = tuple[str, str]

PATHS = '{"path":"a\\n😀.py","size":[1,{"x":"}{"}]}'
CITY = '{"city":"Zürich"}'


def part(index: int | None = None, *, name: str | None = None, arguments: object = None, **more: Any) -> Fragment:
    function = {"name": name, "arguments": arguments}
    fragment = {
        "index": index,
        **more,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return {key: value for key, value in fragment.items() if value is not None}


def begin(index: int, call_id: str, name: str, arguments: object = "") -> Fragment:
    return part(index, id=call_id, type="function", name=name, arguments=arguments)


def asked(calls: Sequence[ToolCall]) -> list[Asked]:
    return [(call.name, call.arguments) for call in calls]


def assembled(*events: list[Fragment]) -> list[ToolCall]:
    assembler = CallAssembler()
    for told in events:
        assembler.take(told)
    return assembler.finish()


def pieces(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def event(delta: dict[str, Any], finish: str | None = None, *, ascii: bool = False, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice], **more}
    return b"data: " + json.dumps(body, ensure_ascii=ascii, separators=(",", ":")).encode() + b"\n\n"


def told(*fragments: Fragment, **more: Any) -> bytes:
    return event({"tool_calls": list(fragments)}, **more)


# ---- which call a fragment belongs to --------------------------------------------------------------------

ONE = [("write", PATHS)]
TWO = [("write", PATHS), ("weather", CITY)]

KINDS: dict[str, tuple[list[list[Fragment]], list[Asked]]] = {
    "in one piece": ([[begin(0, "a", "write", PATHS)]], ONE),
    "in many pieces": ([[begin(0, "a", "write")], *[[part(0, arguments=p)] for p in pieces(PATHS, 1)]], ONE),
    "without an index": ([[part(id="a", name="write")], *[[part(arguments=p)] for p in pieces(PATHS)]], ONE),
    "without index and id": ([[part(name="write")], *[[part(arguments=p)] for p in pieces(PATHS)]], ONE),
    "the index from the second fragment on": ([[part(id="a", name="write")], [part(0, arguments=PATHS)]], ONE),
    "the index from the second fragment on, interleaved": (
        [[part(id="a", name="write")], [part(0, arguments=PATHS[:9])], [begin(1, "b", "weather", CITY)],
         [part(0, arguments=PATHS[9:])]],
        TWO,
    ),
    "the id from the second fragment on, interleaved": (
        [[part(name="write")], [part(id="a", arguments=PATHS[:9])], [part(id="b", name="weather", arguments=CITY)],
         [part(id="a", arguments=PATHS[9:])]],
        TWO,
    ),
    "the index only in the first": ([[begin(0, "a", "write")], [part(arguments=PATHS)]], ONE),
    "the id in each": ([[begin(0, "a", "write")], *[[part(0, id="a", arguments=p)] for p in pieces(PATHS)]], ONE),
    "the id in each, no index": (
        [[part(id="a", name="write")], *[[part(id="a", arguments=p)] for p in pieces(PATHS)]],
        ONE,
    ),
    "empty ids": ([[begin(0, "", "write")], *[[part(0, id="", arguments=p)] for p in pieces(PATHS)]], ONE),
    "the id later than the name": ([[part(0, name="write")], [part(0, id="a", arguments=PATHS)]], ONE),
    "the id later, no index": ([[part(name="write")], [part(id="a", arguments=PATHS)]], ONE),
    "another id made up for each fragment": (
        [[begin(0, "a", "write")], *[[part(0, id=f"a{n}", arguments=p)] for n, p in enumerate(pieces(PATHS))]],
        ONE,
    ),
    "two, one after the other": (
        [[begin(0, "a", "write")], [part(0, arguments=PATHS)], [begin(1, "b", "weather")], [part(1, arguments=CITY)]],
        TWO,
    ),
    "two, begun together": (
        [[begin(0, "a", "write"), begin(1, "b", "weather")], [part(1, arguments=CITY), part(0, arguments=PATHS)]],
        TWO,
    ),
    "two, told apart by ids alone": (
        [[part(id="a", name="write")], [part(id="b", name="weather")], [part(id="a", arguments=PATHS)],
         [part(id="b", arguments=CITY)]],
        TWO,
    ),
    "two, a new id under the same index": (
        [[begin(0, "a", "write")], [part(0, arguments=PATHS)], [begin(0, "b", "weather")], [part(0, arguments=CITY)]],
        TWO,
    ),
    "two whole ones with the same index in one event": (
        [[begin(0, "a", "write", PATHS), begin(0, "b", "weather", CITY)]],
        TWO,
    ),
    "two whole ones without anything but names in one event": (
        [[part(name="write", arguments=PATHS), part(name="weather", arguments=CITY)]],
        TWO,
    ),
    "two whole ones with the same index, no ids": (
        [[part(0, id="", name="write", arguments=PATHS)], [part(0, id="", name="weather", arguments=CITY)]],
        TWO,
    ),
    "two whole ones with the same id": (
        [[part(id="a", name="write", arguments=PATHS), part(id="a", name="weather", arguments=CITY)]],
        TWO,
    ),
    "two with indexes and the same id": (
        [[begin(0, "a", "write")], [begin(1, "a", "weather")], [part(0, arguments=PATHS), part(1, arguments=CITY)]],
        TWO,
    ),
    "two of the same tool, no ids": (
        [[part(name="write", arguments='{"a":1}')], [part(name="write")], [part(arguments='{"a":2}')]],
        [("write", '{"a":1}'), ("write", '{"a":2}')],
    ),
    "two of the same tool without arguments in one event": (
        [[part(name="look", arguments=""), part(name="look", arguments="")]],
        [("look", "{}"), ("look", "{}")],
    ),
    "indexes that do not begin with 0": ([[begin(1, "a", "write", PATHS)], [begin(2, "b", "weather", CITY)]], TWO),
    "indexes that are texts": (
        [[part(id="a", name="write") | {"index": "0"}], [part(arguments=PATHS) | {"index": "0"}]],
        ONE,
    ),
    "an index that is null": (
        [[begin(0, "a", "write") | {"index": None}], [part(arguments=PATHS) | {"index": None}]],
        ONE,
    ),
    "the name in pieces": ([[part(0, id="a", name="wri")], [part(0, name="te")], [part(0, arguments=PATHS)]], ONE),
    "the name in pieces with empty arguments": (
        [[part(0, id="a", name="w", arguments="")], [part(0, name="rite", arguments="")], [part(0, arguments=PATHS)]],
        ONE,
    ),
    "the name whole in each": ([[part(0, id="a", name="write", arguments=p)] for p in pieces(PATHS)], ONE),
    "the name whole in each, no index, no id": ([[part(name="write", arguments=p)] for p in pieces(PATHS, 1)], ONE),
    "the name whole in each, growing": (
        [[part(0, name="wr", arguments="")], [part(0, name="write", arguments="")], [part(0, arguments=PATHS)]],
        ONE,
    ),
    "the name once more at the end": (
        [[begin(0, "a", "write")], [part(0, arguments=PATHS)], [part(0, name="write", arguments="")]],
        ONE,
    ),
    "all of it once more at the end": (
        [[begin(0, "a", "write")], [part(0, arguments=PATHS)], [begin(0, "a", "write", PATHS)]],
        ONE,
    ),
    "names null or empty after the first": (
        [[begin(0, "a", "write")], *[[{"index": 0, "id": None, "function": {"name": n, "arguments": p}}]
                                     for n, p in zip([None, ""] * 99, pieces(PATHS), strict=False)]],
        ONE,
    ),
    "name and arguments beside the id": ([[{"id": "a", "name": "write", "arguments": PATHS}]], ONE),
    "an object for arguments": ([[begin(0, "a", "write", json.loads(PATHS))]], ONE),
    "an empty object for arguments": ([[begin(0, "a", "look", {})]], [("look", "{}")]),
    "no arguments": ([[part(0, id="a", name="look")]], [("look", "{}")]),
    "null for arguments": ([[{"id": "a", "function": {"name": "look", "arguments": None}}]], [("look", "{}")]),
    "the word null for arguments": ([[begin(0, "a", "look", "null")]], [("look", "{}")]),
    "white space for arguments": ([[begin(0, "a", "look", " \n")]], [("look", "{}")]),
    "an empty object before the arguments": ([[begin(0, "a", "write", "{}")], [part(0, arguments=PATHS)]], ONE),
    "empty objects before the arguments": ([[begin(0, "a", "write", "{}{ } " + PATHS)]], ONE),
    "an empty object twice": ([[begin(0, "a", "look", "{}")], [part(0, arguments="{}")]], [("look", "{}")]),
    "an object and then a text": ([[begin(0, "a", "write", {})], [part(0, arguments=PATHS)]], ONE),
    "the arguments twice": ([[begin(0, "a", "write", PATHS)], [part(0, arguments=PATHS)]], ONE),
    "JSON in a JSON string": ([[begin(0, "a", "write", json.dumps(PATHS))]], ONE),
    "arguments that are no JSON": ([[begin(0, "a", "write", '{"path": ')]], [("write", '{"path": ')]),
    "no name": ([[part(0, id="a", arguments=PATHS)], [begin(1, "b", "weather", CITY)]], TWO[1:]),
    "an empty name": ([[begin(0, "a", " ", PATHS)]], []),
    "one that is no list": ([begin(0, "a", "write", PATHS)], ONE),  # type: ignore[list-item]
    "odd things": ([[None, 3, "x", {}, {"function": None}, begin(0, "a", "write", PATHS)]], ONE),  # type: ignore[list-item]
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_every_make_are_put_together(kind: str) -> None:
    events, wanted = KINDS[kind]
    calls = assembled(*events)
    assert [(name, _value(arguments)) for name, arguments in asked(calls)] == [(n, _value(a)) for n, a in wanted]
    assert len({call.call_id for call in calls}) == len(calls)
    assert all(call.call_id for call in calls)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_calls_of_every_make_are_put_together_from_a_stream(kind: str, size: int) -> None:
    events, wanted = KINDS[kind]
    stream = b"".join(
        [event({"role": "assistant", "content": None}), *[event({"tool_calls": e}) for e in events], TAIL]
    )
    for made in (StreamParser(), SlowParser()):
        fed(made, [stream[at : at + size] for at in range(0, len(stream), size)])
        assert [(call.name, _value(call.arguments)) for call in made.end.calls] == [(n, _value(a)) for n, a in wanted]


class SlowParser(StreamParser):
    """Every fragment through the JSON parser."""

    __slots__ = ()

    def _pieces(self, block: bytes) -> list[bytes] | None:
        return None


def _value(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def test_ids_are_the_providers_where_they_are_its_own() -> None:
    calls = assembled([begin(0, "a", "x"), begin(1, "a", "y"), begin(2, "", "z"), part(3, id=7, name="w")])
    assert [call.call_id for call in calls][::3] == ["a", "7"]
    assert len({call.call_id for call in calls}) == 4


def test_a_function_call_of_the_old_kind_is_a_call() -> None:
    stream = [event({"function_call": {"name": "write", "arguments": ""}})]
    stream += [event({"function_call": {"arguments": piece}}) for piece in pieces(PATHS)]
    parser = StreamParser()
    deltas = fed(parser, [*stream, event({}, "function_call"), TAIL])
    assert asked(parser.end.calls) == ONE
    assert _arguments(deltas) == PATHS
    assert parser.end.calls[0].call_id


def test_a_function_call_beside_tool_calls_is_the_same_call() -> None:
    stream = [event({"function_call": {"name": "write", "arguments": PATHS}}), told(begin(0, "a", "write", PATHS))]
    parser = StreamParser()
    fed(parser, [*stream, TAIL])
    assert asked(parser.end.calls) == ONE


@pytest.mark.parametrize("key", ["delta", "message"])
@pytest.mark.parametrize("old", [False, True])
def test_whole_calls_of_an_unstreamed_body(key: str, old: bool) -> None:
    asks = (
        {"function_call": {"name": "write", "arguments": PATHS}}
        if old
        else {"tool_calls": [begin(0, "a", "write", PATHS), {"id": "b", "function": {"name": "look"}}]}
    )
    body = {"choices": [{"index": 0, key: {"role": "assistant", "content": "I do.", **asks}, "finish_reason": "stop"}]}
    parser = WholeParser()
    assert parser.feed(orjson.dumps(body)) == []
    deltas = parser.finish()
    assert said(deltas) == "I do."
    assert asked(parser.end.calls) == ONE + ([] if old else [("look", "{}")])


def test_a_whole_message_at_the_end_asks_where_nothing_did_before() -> None:
    message = {"message": {"role": "assistant", "content": "I do.", "tool_calls": [begin(0, "a", "write", PATHS)]}}
    last = (
        b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {}, **message, "finish_reason": "stop"}]}) + b"\n\n"
    )
    for before in (
        [],
        [event({"content": "I do."})],
        [event({"content": "I do."}), told(begin(0, "a", "write", PATHS))],
    ):
        parser = StreamParser()
        assert said(fed(parser, [*before, last, TAIL])) == "I do."
        assert asked(parser.end.calls) == ONE


# ---- through the parser ----------------------------------------------------------------------------------


def _arguments(deltas: Sequence[Delta]) -> str:
    chunks = [chunk for delta in deltas if type(delta) is CallDelta for chunk in delta.chunks]
    for chunk in chunks:
        json.loads(b'"%s"' % chunk)
    return unescape(b"".join(chunks))


PIECES = st.one_of(
    st.text(min_size=1, max_size=6),
    st.sampled_from(
        ['{"a":"', '"}', "\\", '\\"', "\n\n", "data: ", "[DONE]", '"arguments":"', "\x00", "😀", "é", "{}"]
    ),
)
FRAMES = [
    lambda index, text, _: {"index": index, "function": {"arguments": text}},
    lambda index, text, _: {"index": index, "id": None, "type": None, "function": {"name": None, "arguments": text}},
    lambda index, text, call_id: {"index": index, "id": call_id, "type": "function", "function": {"arguments": text}},
    lambda index, text, _: {"index": index, "function": {"arguments": text}, "type": "function"},
    lambda index, text, _: {"function": {"arguments": text, "name": ""}, "index": index, "id": ""},
    lambda _, text, call_id: {"id": call_id, "function": {"arguments": text}},
]  # fmt: skip
EXTRAS: list[dict[str, Any]] = [{}, {"usage": None}, {"obfuscation": "x"}, {"usage": {"completion_tokens": 1}}]


@given(st.data())
def test_any_interleaving_cut_anywhere_gives_the_same_calls(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.lists(PIECES, max_size=6), min_size=1, max_size=4))
    make = data.draw(st.sampled_from(FRAMES))
    ascii, extra = data.draw(st.booleans()), data.draw(st.sampled_from(EXTRAS))
    order = data.draw(st.permutations([number for number, text in enumerate(texts) for _ in text]))
    left = [list(text) for text in texts]
    stream = [told(begin(n, f"id{n}", f"tool{n}"), ascii=ascii) for n in range(len(texts))]
    for place, number in enumerate(order):
        fragment = make(number, left[number].pop(0), f"id{number}")
        stream.append(event({"tool_calls": [fragment]}, ascii=ascii, **extra))
        if data.draw(st.integers(0, 9)) == 0:
            stream.append(event({"content": f"t{place}"}))
    whole = b"".join([*stream, TAIL])
    wanted = [(f"tool{n}", "".join(text).replace("\0", "\ufffd")) for n, text in enumerate(texts)]
    seen: list[object] = []
    for made in (StreamParser(), SlowParser()):
        deltas = fed(made, cut(whole, data.draw(st.lists(st.integers(0, 20_000), max_size=6))))
        names = [call.name for call in made.end.calls]
        assert names == [name for name, _ in wanted]
        assert [call.call_id for call in made.end.calls] == [f"id{n}" for n in range(len(texts))]
        assert sum(len(d.chunks) for d in deltas if type(d) is CallDelta) == len(order)
        seen.append((made.end.calls, _arguments(deltas), said(deltas)))
        for call, (_, text) in zip(made.end.calls, wanted, strict=True):
            if text.strip() not in ("", "null") and text.strip()[0] not in '{"':
                assert call.arguments == text
    assert seen[0] == seen[1]


@given(
    st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=8), st.integers(-9, 9), st.none()), max_size=4),
    st.lists(st.integers(0, 400), max_size=8),
    st.lists(st.integers(0, 20_000), max_size=6),
    st.booleans(),
)
def test_arguments_cut_anywhere_are_the_object(
    value: dict[str, Any], places: list[int], reads: list[int], ascii: bool
) -> None:
    written = json.dumps(value, ensure_ascii=ascii)
    bounds = [0, *sorted(place % (len(written) + 1) for place in places), len(written)]
    parts = [written[a:b] for a, b in pairwise(bounds)]
    stream = [told(begin(0, "a", "x")), *[told(part(0, arguments=p), ascii=not ascii) for p in parts if p], TAIL]
    parser = StreamParser()
    fed(parser, cut(b"".join(stream), reads))
    assert json.loads(parser.end.calls[0].arguments) == value


@given(st.lists(st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["index", "id", "function", "name", "arguments", "type"]), inner, max_size=4),
    max_leaves=12,
), max_size=5))  # fmt: skip
def test_no_fragment_is_too_odd(odd: list[object]) -> None:
    assembler = CallAssembler()
    for something in odd:
        assembler.take(something)
    for call in assembler.finish():
        assert call.call_id
        assert call.name
        assert orjson.dumps(call.arguments)


@pytest.mark.parametrize("size", [2, 5, 10_000])
def test_a_surrogate_pair_split_over_fragments_is_one_character_again(size: int) -> None:
    half, other = "😀".encode("utf-16-be", "surrogatepass")[:2], "😀".encode("utf-16-be")[2:]
    texts = ['{"a":"', half.decode("utf-16-be", "surrogatepass"), other.decode("utf-16-be", "surrogatepass"), '"}']
    stream = b"".join([told(begin(0, "a", "x")), *[told(part(0, arguments=t), ascii=True) for t in texts], TAIL])
    parser = StreamParser()
    deltas = fed(parser, [stream[at : at + size] for at in range(0, len(stream), size)])
    assert asked(parser.end.calls) == [("x", '{"a":"😀"}')]
    orjson.dumps(_arguments(deltas))


def test_text_and_thinking_stand_beside_calls() -> None:
    stream = [event({"reasoning_content": "Hm."}), event({"content": "I write"}), told(begin(0, "a", "write"))]
    stream += [told(part(0, arguments=p)) for p in pieces(PATHS)]
    stream += [event({"content": " it.", "tool_calls": [begin(1, "b", "weather", CITY)]}), TAIL]
    for reads in (stream, [b"".join(stream)]):
        parser = StreamParser()
        deltas = fed(parser, reads)
        assert (said(deltas), said(deltas, ThinkingDelta)) == ("I write it.", "Hm.")
        assert asked(parser.end.calls) == TWO
        assert _arguments(deltas) == PATHS + CITY


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "function_call", "length", "eos"])
def test_calls_count_whatever_the_finish_reason_says(reason: str) -> None:
    parser = StreamParser()
    fed(parser, [told(begin(0, "a", "write", PATHS)), event({}, reason), b"data: [DONE]\n\n"])
    assert asked(parser.end.calls) == ONE
    assert parser.end.finish_reason == reason


def test_calls_and_the_finish_reason_in_one_event() -> None:
    parser = StreamParser()
    fed(parser, [event({"tool_calls": [begin(0, "", "write", PATHS), begin(0, "", "weather", CITY)]}, "stop")])
    assert asked(parser.end.calls) == TWO


def test_an_answer_that_was_cut_asks_for_nothing() -> None:
    parser = StreamParser()
    fed(parser, [told(begin(0, "a", "write", PATHS))])
    assert not parser.is_complete
    assert parser.end.calls == []


def test_an_event_that_begins_a_call_is_a_sign_of_life_and_an_empty_one_is_not() -> None:
    parser = StreamParser()
    assert parser.feed(told(begin(0, "a", "look"))) == [CallDelta([])]
    assert parser.feed(told(part(0, arguments=""))) == []
    assert parser.feed(told(part(0, name="look", arguments=""))) == []
    assert parser.feed(told(part(0, arguments="{}"))) == [CallDelta([b"{}"])]


def test_usage_and_errors_beside_pieces_are_seen() -> None:
    parser = StreamParser()
    begun = [told(begin(0, "a", "x")), told(part(0, arguments="{"))]
    fed(parser, [*begun, told(part(0, arguments="}"), usage={"prompt_tokens": 1, "completion_tokens": 2})])
    assert parser.end.usage is not None
    broken = StreamParser()
    fed(broken, [*begun, told(part(0, arguments="}"), error={"message": "m"})])
    assert broken.failure is not None


def test_calls_end_what_may_be_a_tag() -> None:
    tag = ThinkTag()
    deltas: list[Delta] = [TextDelta([b"<thi"]), CallDelta([b"{}"]), TextDelta([b"<think>"])]
    assert tag.sort(deltas) == deltas
    assert tag.is_through
    inside = ThinkTag()
    assert inside.sort([TextDelta([b"<think>Hm"]), CallDelta([])]) == [ThinkingDelta([b"Hm"]), CallDelta([])]
    assert ThinkTag().sort([CallDelta([])]) == [CallDelta([])]


# ---- bounds ----------------------------------------------------------------------------------------------


def test_more_calls_than_the_bound_fail() -> None:
    calls = [begin(n, f"c{n}", "look") for n in range(MAX_CALLS + 1)]
    assert len(assembled(calls[:-1])) == MAX_CALLS
    with pytest.raises(TooManyCalls, match="more than 128 tool calls in one answer"):
        assembled(calls)
    parser = StreamParser()
    fed(parser, [b"".join(map(told, calls)), TAIL])
    assert parser.failure is not None
    assert parser.failure.words == "more than 128 tool calls in one answer"
    assert parser.end.calls == []


@pytest.mark.parametrize("size", [1000, 100_000])
def test_more_bytes_of_arguments_than_the_bound_fail(size: int) -> None:
    stream = [told(begin(0, "a", "x")), told(begin(1, "b", "x"))]
    stream += [told(part(number % 2, arguments="x" * size)) for number in range(MAX_BYTES // size + 1)]
    for reads in (stream, [b"".join(stream)]):
        parser = StreamParser()
        fed(parser, reads)
        assert parser.failure is not None
        assert parser.failure.words == "more than 2048 KiB of tool calls in one answer"


def test_names_and_ids_count_as_well() -> None:
    with pytest.raises(TooManyCalls):
        CallAssembler(max_bytes=1000).take([part(0, name="a" * 10)] * 200)
    with pytest.raises(TooManyCalls):
        CallAssembler(max_bytes=1000).take([begin(0, "i" * 2000, "x")])


def test_a_call_in_an_event_that_is_too_long_is_no_answer_without_it() -> None:
    stream = [told(begin(0, "a", "x", "y" * (2 * MAX_EVENT_BYTES))), event({}, "tool_calls"), b"data: [DONE]\n\n"]
    whole = b"".join(stream)
    parser = StreamParser()
    fed(parser, [whole[at : at + 65536] for at in range(0, len(whole), 65536)])
    assert parser.failure is not None
    assert "a tool call of more than 2 MiB" in parser.failure.words


def test_many_pieces_take_time_in_proportion() -> None:
    def seconds(count: int, fragment: Fragment) -> float:
        assembler = CallAssembler()
        assembler.take([begin(0, "a", "x", '{"a":"')])
        started = time.process_time()
        for _ in range(count):
            assembler.take([fragment])
        assembler.finish()
        return time.process_time() - started

    for fragment in (part(0, arguments="}"), part(0, name="x", arguments="}"), part(0, id="b", arguments="}")):
        few = min(seconds(1000, fragment) for _ in range(3))
        many = seconds(20_000, fragment)
        assert many < 20 * few * 8 + 0.1  # the square would be 400 times as much


@pytest.mark.parametrize(("arguments", "is_whole"), [("{}", True), ('{"a":', False), ("[1]", False), ("", False)])
def test_arguments_are_whole_when_they_are_an_object(arguments: str, is_whole: bool) -> None:
    assert has_whole_arguments(ToolCall("a", "x", arguments)) is is_whole
