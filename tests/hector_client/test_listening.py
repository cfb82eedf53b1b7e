"""Listening to a session over several connections, and sending a message so that it is there once."""

from __future__ import annotations

import time

import pytest

from hector_client._following import Patience, follow, repeat
from hector_client._readers import SessionReader
from hector_client._state import post_message
from hector_client._turn_text import TurnText
from hector_client.errors import QuotaExceeded, SessionError, Unreachable
from hector_client.events import Event, Text, TurnFinished
from tests.hector_client.steps import LOST, NO_CONTENT, Script, frame, refused, text

STARTED = frame("turn_started", 1, turn_id="t1")
FINISHED = frame("turn_finished", 3, turn_id="t1", status="completed")
ENDED = frame("session_ended", 9)


def listen(script: Script, reader: SessionReader) -> list[Event]:
    return script.run(follow(reader, Patience(5.0, "the script", script.clock)))


def test_it_goes_through_any_number_of_turns_until_the_session_is_over() -> None:
    again = frame("turn_started", 4, turn_id="t2") + text("two", 5) + frame("turn_finished", 6, turn_id="t2")
    script = Script([[STARTED, text("one", 2), FINISHED, frame("done"), again, frame("done"), ENDED]])
    reader = SessionReader("assistant", "s", "0")

    events = listen(script, reader)

    assert [event.chunk for event in events if isinstance(event, Text)] == ["one", "two"]
    assert (events[-1].type, script.asked) == ("session_ended", ["GET 0"])
    assert reader.text == "two"


def test_204_says_that_it_is_over() -> None:
    script = Script([[STARTED, LOST], NO_CONTENT])

    events = listen(script, SessionReader("assistant", "s", None))

    assert [event.type for event in events] == ["turn_started", "offline"]
    assert script.asked == ["GET None", "GET 1"]


def test_a_stream_that_a_proxy_closed_is_opened_again() -> None:
    script = Script([[STARTED, text("one", 2)], [frame("reconnect", after=2)], [FINISHED, ENDED]])

    events = listen(script, SessionReader("assistant", "s", None))

    assert script.asked == ["GET None", "GET 2", "GET 2"]
    assert [event.type for event in events] == [
        *["turn_started", "text", "offline", "online", "offline"],
        *["online", "turn_finished", "session_ended"],
    ]


def test_a_loop_that_was_left_continues_behind_the_last_event_it_handed_on() -> None:
    script = Script([[STARTED + text("one", 2) + FINISHED], [FINISHED + ENDED]])
    reader = SessionReader("assistant", "s", None)
    patience = Patience(5.0, "the script", script.clock)

    script.run(follow(reader, patience), until=lambda event: isinstance(event, Text))
    rest = script.run(follow(reader, patience))

    assert script.asked == ["GET None", "GET 2"]
    assert isinstance(rest[0], TurnFinished)


def test_a_snapshot_replaces_the_text() -> None:
    snapshot = frame("snapshot", 8, turn_id="t1", text="only this")
    script = Script([[STARTED, text("one", 2), LOST], [snapshot, ENDED]])
    reader = SessionReader("assistant", "s", None)

    listen(script, reader)

    assert reader.text == "only this"


def test_a_snapshot_after_a_tool_leaves_what_was_said_before_it() -> None:
    called = frame("tool_call", 3, tool={"call_id": "c1"})
    snapshot = frame("snapshot", 8, turn_id="t1", message_id="m2", text="two")
    script = Script([[STARTED, text("one ", 2), called, text("twenty", 4), LOST], [snapshot, ENDED]])
    reader = SessionReader("assistant", "s", None)

    listen(script, reader)

    assert reader.text == "one two"


def test_a_long_answer_is_put_together_in_the_time_of_its_pieces() -> None:
    def seconds(pieces: int) -> float:
        said, began = TurnText(), time.process_time()
        for _ in range(pieces):
            said.add(" word")
        assert len(said.whole) == 5 * pieces
        return time.process_time() - began

    # Copying the text for each piece takes a hundred times as long for ten times as many.
    assert seconds(100_000) < 40 * max(seconds(10_000), 0.002)


def test_a_session_that_was_terminated_meanwhile_is_an_error() -> None:
    with pytest.raises(SessionError):
        listen(Script([[STARTED, LOST], refused(410, "session_terminated")]), SessionReader("assistant", "s", None))


def test_a_message_is_sent_under_one_key_until_it_is_accepted() -> None:
    script = Script(replies={"messages": [LOST, refused(503, "shutting_down"), {"turn_id": "t1"}]})
    post = post_message("assistant", "s", {"message": "hi"})

    reply = script.call(repeat(post, Patience(5.0, "the script", script.clock)))

    assert reply.json == {"turn_id": "t1"}
    assert (len(script.keys), script.pauses) == (1, [0.25, 0.5])


def test_each_message_has_a_key_of_its_own() -> None:
    first, second = [post_message("assistant", "s", {"message": "hi"}).headers for _ in range(2)]

    assert first != second


@pytest.mark.parametrize(
    ("answer", "error"), [(refused(429, "queue_full"), QuotaExceeded), (LOST, Unreachable)], ids=["refused", "lost"]
)
def test_a_message_that_is_refused_or_not_accepted_in_time_is_an_error(
    answer: Exception, error: type[Exception]
) -> None:
    script = Script(replies={"messages": answer})

    with pytest.raises(error):
        script.call(repeat(post_message("assistant", "s", {}), Patience(5.0, "the script", script.clock)))
