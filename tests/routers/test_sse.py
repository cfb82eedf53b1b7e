"""Server-sent events: how a run looks on the wire, encoded once for all its readers."""

from __future__ import annotations

from app.domain.event import DebugLine, EventKind, Reconnect
from app.events.run import Run, fact_run
from app.routers.sse import encode, frame


def test_plain_text_is_framed_as_documented() -> None:
    run = Run(41, 42, EventKind.TEXT, chunks=[b"Quantum", rb" \"q\"\n"])
    assert encode(run) == b'id: 41\ndata: {"chunk": "Quantum"}\n\nid: 42\ndata: {"chunk": " \\"q\\"\\n"}\n\n'


def test_one_delta_and_merged_deltas_are_one_frame_with_the_last_number() -> None:
    assert encode(Run(7, 7, EventKind.TEXT, chunks=[b"a"])) == b'id: 7\ndata: {"chunk": "a"}\n\n'
    assert encode(Run(6, 7, EventKind.TEXT, chunks=[b"bc"])) == b'id: 7\ndata: {"chunk": "bc"}\n\n'


def test_thinking_says_so() -> None:
    run = Run(3, 4, EventKind.THINKING, chunks=[b"a", b"100%"])
    assert encode(run) == (
        b'id: 3\ndata: {"chunk": "a", "type": "thinking"}\n\nid: 4\ndata: {"chunk": "100%", "type": "thinking"}\n\n'
    )


def test_a_fact_is_one_frame_with_its_type() -> None:
    assert encode(fact_run(7, DebugLine("t1", "shown"))) == b'id: 7\ndata: {"chunk": "shown\\n", "type": "debug"}\n\n'


def test_what_is_for_one_reader_alone_has_no_number() -> None:
    assert frame(Reconnect(12)) == b'data: {"chunk": "", "type": "reconnect", "after":12}\n\n'


def test_all_readers_of_a_run_share_its_bytes() -> None:
    run = Run(1, 1, EventKind.TEXT, chunks=[b"a"])
    assert encode(run) is encode(run)
