"""Events: a class for every word, and no frame that breaks a reader."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from app.domain.event import EventKind
from hector_client.events import KINDS, Event, Snapshot, Text, TurnFinished, decode


def test_every_kind_of_the_server_has_a_class() -> None:
    """But for `reconnect`, which the client obeys and does not hand on."""
    assert {kind.value for kind in EventKind} - set(KINDS) == {"reconnect"}


@pytest.mark.parametrize("word", KINDS)
def test_each_class_has_its_word_and_its_defaults(word: str) -> None:
    event = decode(word, {})

    assert (type(event), event) == (KINDS[word], KINDS[word]())


def test_fields_have_names() -> None:
    fields = {"chunk": "", "type": "turn_finished", "status": "failed", "turn_id": "t", "usage": {"total_tokens": 3}}

    event = decode("turn_finished", fields, cursor="41")

    assert isinstance(event, TurnFinished)
    assert (event.status, event.usage["total_tokens"], event.seq) == ("failed", 3, 41)


def test_an_unknown_kind_is_a_plain_event_with_its_fields() -> None:
    event = decode("of_a_later_version", {"chunk": "shown", "more": 1}, cursor="4:2")

    assert (type(event), event.type, event.chunk) == (Event, "of_a_later_version", "shown")
    assert (event.fields["more"], event.seq) == (1, 4)


def test_what_is_null_or_no_text_has_its_default() -> None:
    assert decode("snapshot", {"chunk": None, "text": None}) == Snapshot(fields={"chunk": None, "text": None})


def test_events_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Text(chunk="a").chunk = "b"  # type: ignore[misc]


def test_events_say_what_they_add_and_end() -> None:
    said = decode("text", {"chunk": "hi"})
    called = decode("tool_call", {"chunk": "[Tool: pay()]", "tool": {}})
    failed = decode("error", {"reason": "llm_error", "message": "No credit."})
    over = decode("turn_finished", {"status": "failed"})

    assert [event.delta for event in (said, called, failed, over)] == ["hi", "", "", ""]
    assert [event.is_complete for event in (said, called, failed, over)] == [False, False, False, True]
    assert [event.error for event in (said, called, failed, over)] == [None, None, "No credit.", None]
