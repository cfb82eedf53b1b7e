"""An answer over several connections: what is asked next, and what is shown, after every way to break."""

from __future__ import annotations

from typing import Any

import pytest

from hector_client._following import Patience, follow
from hector_client._readers import AnswerReader
from hector_client._state import AnswerState, post_message
from hector_client._steps import Request
from hector_client.errors import Conflict, Internal, ModelFailed, Refused, SessionError, Unavailable, Unreachable
from hector_client.events import Error, Event
from tests.hector_client.steps import LOST, NO_CONTENT, Opened, Script, frame, refused, text

MINE = {"turn_id": "t1", "session_id": "s"}
STARTED = frame("turn_started", 1, **MINE)
FINISHED = frame("turn_finished", 9, **MINE, status="completed")
POST = Request("POST", "/messages/stream", headers={"Idempotency-Key": "k"}, body={"message": "hi"})


def follow_answer(
    script: Script, *, session_id: str | None = "s", patience: float = 5.0, **how: Any
) -> tuple[AnswerReader, list[str]]:
    """The answer, and the types of its events."""
    answer = AnswerReader("assistant", session_id, clock=script.clock, **(how or {"first": POST}))
    events = script.run(follow(answer, Patience(patience, "the script", script.clock)))
    return answer, [event.type for event in events]


def test_an_unbroken_answer_is_one_request() -> None:
    script = Script([[STARTED, text("one ", 2), text("two", 3) + FINISHED]])

    answer, kinds = follow_answer(script)

    assert (answer.text, answer.finished and answer.finished.status) == ("one two", "completed")
    assert (script.asked, kinds) == (["POST hi"], ["turn_started", "text", "text", "turn_finished"])


def test_after_a_break_it_goes_on_behind_the_last_number() -> None:
    script = Script([[STARTED, text("one ", 2), LOST], LOST, [text("two", 3), FINISHED]])

    answer, kinds = follow_answer(script)

    assert answer.text == "one two"
    assert script.asked == ["POST hi", "GET 2", "GET 2"]
    assert kinds == ["turn_started", "text", "offline", "offline", "online", "text", "turn_finished"]
    assert script.pauses == [0.25, 0.5]


def test_a_cursor_without_an_event_is_kept_as_well() -> None:
    script = Script([[STARTED, frame("cursor", "1:7"), LOST], [FINISHED]])

    follow_answer(script)

    assert script.asked == ["POST hi", "GET 1:7"]


def test_a_shutdown_names_the_number_and_the_pause_to_come_back_with() -> None:
    going = b"retry: 1700\n" + frame("reconnect", after="3:4")
    script = Script([[STARTED, text("one ", 2), going], [text("two", 3), FINISHED]])

    follow_answer(script)

    assert (script.asked, script.pauses) == (["POST hi", "GET 3:4"], [1.7])


def test_a_message_that_may_not_have_arrived_is_sent_again_under_the_same_key() -> None:
    script = Script([LOST, refused(503, "shutting_down"), [STARTED, FINISHED]])

    follow_answer(script)

    assert script.asked == ["POST hi"] * 3
    assert len(script.keys) == 1


def test_a_snapshot_replaces_the_text() -> None:
    snapshot = frame("snapshot", 8, **MINE, text="one")
    script = Script([[STARTED, text("one ", 2), text("two", 3), LOST], [snapshot, FINISHED]])

    answer, _ = follow_answer(script)

    assert answer.text == "one"


CALLED = frame("tool_call", 3, tool={"call_id": "c1", "name": "search"})
RESULT = frame("tool_result", 4, call_id="c1", status="settled")


def test_a_snapshot_replaces_the_message_it_is_of_and_no_earlier_one() -> None:
    step = [STARTED, text("Let me look.", 2), CALLED, RESULT, text("It is thr", 5)]
    script = Script([[*step, LOST], [frame("snapshot", 8, **MINE, message_id="m2", text="It is"), FINISHED]])

    answer, _ = follow_answer(script)

    assert answer.said.messages == ["Let me look.", "It is"]
    assert answer.text == "Let me look.It is"


def test_an_outcome_does_not_end_the_message_that_a_snapshot_took_back() -> None:
    taken_back, once_more = [frame("snapshot", seq, **MINE, message_id="m2", text="") for seq in (8, 12)]
    result = frame("tool_result", 9, call_id="c1", status="settled")
    script = Script(
        [
            [STARTED, text("Let me look.", 2), CALLED, LOST],
            [taken_back, result, text("It is thr", 10), LOST],
            [once_more, text("It is three.", 13), FINISHED],
        ]
    )

    answer, _ = follow_answer(script)

    assert answer.said.messages == ["Let me look.", "It is three."]


def test_snapshots_of_several_messages_stand_one_after_the_other() -> None:
    one, two = [frame("snapshot", 8, **MINE, message_id=name, text=name) for name in ("m1", "m2")]
    script = Script([[STARTED, one, two, text(" more", 9), one, FINISHED]])

    answer, _ = follow_answer(script)

    assert answer.said.messages == ["m1", "m2 more"]


def test_a_message_that_is_steered_in_begins_another_message() -> None:
    steered = frame("message_steered", 3, **MINE, message="shorter")
    script = Script([[STARTED, text("one", 2), steered, text("two", 4), FINISHED]])

    answer, _ = follow_answer(script)

    assert answer.said.messages == ["one", "two"]


def test_a_message_that_steers_is_answered_by_the_running_turn() -> None:
    steered = frame("message_steered", 3, turn_id="t0", message="hi")
    other = frame("message_steered", 2, turn_id="t0", message="another")
    finished = frame("turn_finished", 9, turn_id="t0", status="completed")
    script = Script([[text("Bonj", 1), other, text("our", 2), steered, LOST], [text("Hello", 4), finished]])

    answer, _ = follow_answer(script)

    assert (answer.turn_id, answer.said.messages) == ("t0", ["Bonj", "our", "Hello"])
    assert script.asked == ["POST hi", "GET 3"]


STORED = {"m1": "Let me look.", "m2": "", "m3": "It is three."}


@pytest.mark.parametrize("seen", range(5))
@pytest.mark.parametrize("cut", [1, 0])
def test_all_messages_of_a_turn_that_ended_unseen_are_looked_up(seen: int, cut: int) -> None:
    """After any number of frames, the last one whole or not."""
    ended = {**MINE, "status": "completed", "message_id": "m3"}
    ours = {"turn_id": "t1", "role": "assistant"}
    stored = [{**ours, "message_id": name, "content": content} for name, content in STORED.items()]
    other = {"message_id": "m0", "turn_id": "t0", "role": "assistant", "content": "not ours"}
    page = {"messages": [other, *stored], "next_before": None}
    frames = [text(STORED["m1"][: -1 if seen == 1 and cut else None], 2), CALLED, RESULT]
    frames += [text(STORED["m3"][: -1 if cut else None], 5)]
    script = Script([[STARTED, *frames[:seen], LOST], NO_CONTENT], {"t1": ended, "messages": page})

    answer, _ = follow_answer(script)

    assert answer.said.messages == ["Let me look.", "It is three."]


def test_another_turns_text_is_not_ours() -> None:
    other = frame("turn_finished", 3, turn_id="t0", status="completed")
    script = Script([[frame("turn_queued", 1, **MINE), text("not ours", 2), other, STARTED, text("ours", 5), FINISHED]])

    answer, _ = follow_answer(script)

    assert answer.text == "ours"


def test_the_end_of_another_turn_is_no_break() -> None:
    queued = frame("turn_queued", 1, **MINE)
    streams: list[Opened] = [
        [queued, LOST],
        [text("not ours", 2), frame("done")],
        [STARTED, text("ours", 5), FINISHED],
    ]
    script = Script(streams, {"t1": {"status": "queued"}})

    answer, kinds = follow_answer(script)

    assert answer.text == "ours"
    assert kinds.count("offline") == 1


@pytest.mark.parametrize("end", [NO_CONTENT, []], ids=["204", "an empty stream"])
def test_an_end_that_is_in_no_stream_any_more_is_looked_up(end: Opened) -> None:
    turn = {**MINE, "status": "failed", "message_id": "m1", "error": {"reason": "llm_error", "message": "no credit"}}
    answer = {"message_id": "m1", "turn_id": "t1", "role": "assistant", "content": "all of it"}
    messages = {"messages": [answer], "next_before": None}
    script = Script([[STARTED, text("one", 2), LOST], end], {"t1": turn, "messages": messages})

    found, kinds = follow_answer(script)

    assert (found.text, found.finished and found.finished.status) == ("all of it", "failed")
    assert found.error is not None
    assert found.error.message == "no credit"
    assert kinds[-2:] == ["snapshot", "turn_finished"]


def test_an_open_turn_is_joined_without_a_message() -> None:
    script = Script([[STARTED, text("one", 2), FINISHED]])

    answer, _ = follow_answer(script, turn_id="t1")

    assert (answer.text, script.asked) == ("one", ["GET None"])


def test_a_refusal_is_final() -> None:
    script = Script([[STARTED, LOST], refused(410, "session_terminated")])

    with pytest.raises(SessionError):
        follow_answer(script)


def test_patience_has_an_end() -> None:
    script = Script()

    with pytest.raises(Unreachable, match=r"No answer from the script: the connection broke\."):
        follow_answer(script, patience=10)

    assert 10 < script.now < 14


def test_a_one_shot_that_broke_is_not_tried_again() -> None:
    script = Script([[STARTED, text("one", 2), LOST]])

    with pytest.raises(Unreachable, match="without a session"):
        follow_answer(script, session_id=None)

    assert script.asked == ["POST hi"]


def test_times_are_counted_from_the_making_of_the_answer() -> None:
    script = Script([LOST, [STARTED, text("one", 2), FINISHED]])

    answer, _ = follow_answer(script)

    assert (answer.first_text_seconds, answer.total_seconds) == (0.25, 0.25)


class Known(AnswerState):
    """An answer that was followed already."""

    def __init__(self, end: dict[str, Any], *before: bytes) -> None:
        super().__init__("assistant", "s", post_message("assistant", "s", {"message": "hi"}), None)
        self.events: list[Event] = Script(
            [[STARTED, text("so far", 2), *before, frame("turn_finished", 9, **end)]]
        ).run(follow(self._reader, Patience(5.0, "the script")))


@pytest.mark.parametrize(
    ("end", "kind", "reason", "words"),
    [
        ({"status": "cancelled", "reason": "replaced"}, Conflict, "turn_cancelled", "another message"),
        ({"status": "cancelled", "reason": "session_terminated"}, SessionError, "session_terminated", "erased"),
        ({"status": "interrupted", "reason": "crash"}, Unavailable, "shutting_down", "mid-answer"),
        ({"status": "failed", "reason": "llm_timeout"}, ModelFailed, "llm_timeout", "llm_timeout"),
        ({"status": "failed"}, Internal, "internal", "failed"),
        ({"status": "failed", "reason": "of_a_later_version"}, Refused, "of_a_later_version", "later"),
    ],
)
def test_every_end_is_the_error_of_a_waiting_caller(
    end: dict[str, str], kind: type[Refused], reason: str, words: str
) -> None:
    answer = Known({**MINE, **end})

    with pytest.raises(Refused, match=words) as raised:
        answer.raise_for_end()

    assert (type(raised.value), raised.value.reason) == (kind, reason)
    assert (raised.value.details["partial"], raised.value.details["turn_id"]) == ("so far", "t1")


def test_a_completed_turn_raises_nothing() -> None:
    answer = Known({**MINE, "status": "completed"})

    answer.raise_for_end()

    assert answer.is_completed
    assert answer.failure() is None


def test_a_failed_turn_has_the_sentence_of_its_error() -> None:
    answer = Known(
        {**MINE, "status": "failed", "reason": "llm_error"}, frame("error", 3, reason="llm_error", message="no credit")
    )

    failure = answer.failure()

    assert failure is not None
    assert failure.message == "no credit"
    assert Error in [type(event) for event in answer.events]
