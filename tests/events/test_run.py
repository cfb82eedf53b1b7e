"""Runs: frames as they go over the wire, read back, and cut in the middle."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import EventKind
from app.events.run import Run, cut, fact_json, fact_run, fact_wire, wire_of
from app.llm.base import escape

TEXTS = st.lists(
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    min_size=1,
    max_size=12,
)
KINDS = st.sampled_from([EventKind.TEXT, EventKind.THINKING])


def run_of(kind: EventKind, first: int, texts: list[str]) -> Run:
    return Run(first, first + len(texts) - 1, kind, wire_of(kind, first, [escape(text) for text in texts]))


def test_plain_text_is_framed_as_documented() -> None:
    assert run_of(EventKind.TEXT, 41, ["Quantum", ' "q"\n']).wire == (
        b'id: 41\ndata: {"chunk": "Quantum"}\n\nid: 42\ndata: {"chunk": " \\"q\\"\\n"}\n\n'
    )


def test_a_fact_is_one_frame_with_its_type() -> None:
    fact = fact_json(EventKind.DEBUG, {"turn_id": "t1"}, "shown\n")
    assert fact_wire(7, fact) == b'id: 7\ndata: {"chunk": "shown\\n", "type": "debug", "turn_id":"t1"}\n\n'
    assert fact_wire(None, fact).startswith(b"data: ")
    assert orjson.loads(fact_json(EventKind.DEBUG, {})) == {"chunk": "", "type": "debug"}


@given(KINDS, st.integers(1, 10**12), TEXTS)
def test_frames_give_back_numbers_and_texts(kind: EventKind, first: int, texts: list[str]) -> None:
    frames = list(run_of(kind, first, texts).frames())
    assert [number for number, _ in frames] == list(range(first, first + len(texts)))
    assert [frame["chunk"] for _, frame in frames] == texts
    assert {frame.get("type") for _, frame in frames} == {None if kind is EventKind.TEXT else "thinking"}


@given(KINDS, st.integers(1, 1200), TEXTS, st.data())
def test_a_cut_run_is_what_follows(kind: EventKind, first: int, texts: list[str], data: st.DataObject) -> None:
    run = run_of(kind, first, texts)
    if run.first == run.last:
        return
    after = data.draw(st.integers(run.first, run.last - 1))
    rest = cut(run, after)
    assert (rest.first, rest.last, rest.kind) == (after + 1, run.last, kind)
    assert rest.wire == run_of(kind, after + 1, texts[after + 1 - first :]).wire


@pytest.mark.parametrize("text", ["id: 3\n", "\n\nid: 3\ndata: x", "data: [DONE]\n\n"])
def test_text_that_looks_like_a_frame_stays_text(text: str) -> None:
    run = run_of(EventKind.TEXT, 2, [text, text])
    assert [frame["chunk"] for _, frame in run.frames()] == [text, text]
    assert [number for number, _ in cut(run, 2).frames()] == [3]


def test_a_fact_run_has_one_number() -> None:
    run = fact_run(9, EventKind.TURN_STARTED, b"{}", turn_id="t1", ready=False)
    assert (run.first, run.last, run.ready) == (9, 9, False)
