"""Runs: numbers and texts of deltas, facts as JSON, and what follows a cursor inside."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import DebugLine, EventKind, SessionEnded, TurnStarted
from app.events.run import Run, fact_json, fact_run
from app.llm.base import escape
from tests.fixtures.events import an_event

TEXTS = st.lists(
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    min_size=1,
    max_size=12,
)
KINDS = st.sampled_from([EventKind.TEXT, EventKind.THINKING])
FACTS = [kind for kind in EventKind if kind not in (EventKind.TEXT, EventKind.THINKING)]


def run_of(kind: EventKind, first: int, texts: list[str]) -> Run:
    return Run(first, first + len(texts) - 1, kind, chunks=[escape(text) for text in texts])


@given(KINDS, st.integers(1, 10**12), TEXTS)
def test_frames_give_back_numbers_and_texts(kind: EventKind, first: int, texts: list[str]) -> None:
    frames = list(run_of(kind, first, texts).frames())
    assert [number for number, _ in frames] == list(range(first, first + len(texts)))
    assert [frame["chunk"] for _, frame in frames] == texts
    assert {frame.get("type") for _, frame in frames} == {None if kind is EventKind.TEXT else "thinking"}


@given(KINDS, st.integers(1, 1200), TEXTS, st.data())
def test_what_follows_a_cursor_inside_is_a_run(
    kind: EventKind, first: int, texts: list[str], data: st.DataObject
) -> None:
    run = run_of(kind, first, texts)
    if run.first == run.last:
        return
    after = data.draw(st.integers(run.first, run.last - 1))
    rest = run.after(after)
    assert (rest.first, rest.last, rest.kind) == (after + 1, run.last, kind)
    assert list(rest.frames()) == list(run_of(kind, after + 1, texts[after + 1 - first :]).frames())


@pytest.mark.parametrize("text", ["id: 3\n", "\n\nid: 3\ndata: x", "data: [DONE]\n\n"])
def test_text_that_looks_like_a_frame_stays_text(text: str) -> None:
    run = run_of(EventKind.TEXT, 2, [text, text])
    assert [frame["chunk"] for _, frame in run.frames()] == [text, text]
    assert [number for number, _ in run.after(2).frames()] == [3]


@given(TEXTS)
def test_a_packed_run_has_the_same_chunks(texts: list[str]) -> None:
    run = run_of(EventKind.TEXT, 1, texts)
    before = list(run.frames())
    run.pack()
    assert list(run.frames()) == before
    assert run.chunks == [escape(text) for text in texts]


def test_merged_deltas_are_one_event_with_the_last_number() -> None:
    run = Run(5, 9, EventKind.TEXT, chunks=[b"all of it"])
    assert list(run.frames()) == [(9, {"chunk": "all of it"})]
    assert run.after(6) is run


@pytest.mark.parametrize("kind", FACTS)
def test_every_kind_of_fact_has_a_chunk_and_its_type(kind: EventKind) -> None:
    event = an_event(kind)
    ((number, frame),) = fact_run(9, event).frames()
    assert number == 9
    assert (frame["type"], type(frame["chunk"])) == (kind.value, str)
    assert {name: value for name, value in frame.items() if name not in ("chunk", "type")} == event.to_json()


def test_a_fact_is_stored_as_the_json_of_its_frame() -> None:
    started = fact_run(9, TurnStarted("t1", "s1", "m1", "Hi"), ready=False)
    assert (started.first, started.last, started.ready, started.turn_id) == (9, 9, False, "t1")
    assert orjson.loads(started.payload)["message"] == "Hi"
    assert fact_json(DebugLine("t1", "shown")) == b'{"chunk": "shown\\n", "type": "debug"}'
    assert fact_run(1, SessionEnded("s1")).turn_id is None
