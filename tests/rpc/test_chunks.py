"""Events become chunks: what is ready together is one, what is too large for a message is several."""

from __future__ import annotations

from app.domain.event import EventKind, Snapshot, TurnStarted
from app.doors.callers import address_of
from app.events.run import Run, fact_run
from app.llm.base import escape
from app.rpc.chunks import MOST, chunks_of
from app.rpc.status import _bounded


def text_run(first: int, *texts: str) -> Run:
    chunks = [escape(text) for text in texts]
    return Run(first, first + len(texts) - 1, EventKind.TEXT, chunks=chunks, turn_id="turn_1")


def test_text_that_is_ready_together_is_one_chunk_and_facts_keep_their_place() -> None:
    started = fact_run(4, TurnStarted("turn_2", "s", "m", "Hello"))

    found = list(chunks_of([text_run(1, "a", 'b"\n'), text_run(3, "ü"), started, text_run(5, "c")]))

    assert [(chunk.type, chunk.content, chunk.seq) for chunk in found] == [
        ("text", 'ab"\nü', 3),
        ("turn_started", "", 4),
        ("text", "c", 5),
    ]
    assert found[1].turn_started.message == "Hello"


def test_an_event_that_is_too_large_comes_in_parts_that_say_where_they_end() -> None:
    text = "x" * (2 * MOST + 10)

    before, *parts, after = list(chunks_of([text_run(6, "a"), text_run(7, text), text_run(8, "b")]))

    assert "".join(part.content for part in parts) == text
    assert [(part.seq, part.cursor) for part in parts] == [(6, f"7:{MOST}"), (6, f"7:{2 * MOST}"), (7, "")]
    assert (before.seq, after.seq) == (6, 8)


def test_a_snapshot_that_is_too_large_counts_as_read_with_its_last_part() -> None:
    text = "y" * (MOST + 1)

    parts = list(chunks_of([fact_run(9, Snapshot("turn_1", "m", text))]))

    assert "".join(part.snapshot.text for part in parts) == text
    assert [(part.seq, part.snapshot.append, part.snapshot.message_id) for part in parts] == [
        (8, False, "m"),
        (9, True, "m"),
    ]


def test_large_details_of_an_error_are_shortened_and_then_left_out() -> None:
    assert _bounded({}) == b""
    assert _bounded({"turn_id": "t", "partial": "z" * 100_000}).count(b"z") == 200
    assert _bounded({"problems": ["z" * 100_000]}) == b""


def test_the_address_of_a_peer() -> None:
    assert address_of("ipv4:127.0.0.1:50123") == "127.0.0.1"
    assert address_of("ipv6:%5B2001:db8::1%5D:50123") == "2001:db8::1"
    assert address_of("unix:/tmp/socket") == ""
