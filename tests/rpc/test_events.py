"""Every kind of event, with all its fields, as a chunk: nothing is lost on the way from the JSON object of a frame."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict

from app.domain import event as events
from app.domain.turn import Failure, Timings, TurnState, Usage
from app.events.run import Run, fact_json, fact_run
from app.rpc.chunks import chunks_of

USAGE = Usage(3, 4, "counted")
EVENTS: list[events.Event] = [
    events.TurnQueued("turn", "s", "msg", "Hello"),
    events.TurnStarted("turn", "s", "msg", "Hello"),
    events.TurnFinished("turn", TurnState.COMPLETED, "msg", None, USAGE, Timings(0.5, None, 2.0), "stop"),
    events.TurnFinished("turn", TurnState.CANCELLED, None, "session_terminated"),
    events.TurnFailed("turn", Failure("llm_error", "No.", "detail", 429)),
    events.ToolCalled("turn", "call", "pay", {"n": 2**60}, "once", 2, "[Tool]", "helper", 1),
    events.ToolProgressed("turn", "call", "half", 50.0, "half", "helper", 1),
    events.ToolEnded("turn", "call", "pay", "settled", {"ok": [True, None]}, ms=5, sandbox="bwrap"),
    events.ToolEnded("turn", "call", "pay", "settled", "first", "res", 70_000, 5),
    events.TurnWaiting("turn", "input", "call", 1_700_000_000_000, {"question": "Why?", "choices": ["a", "b"]}),
    events.TurnWaiting("turn", "input", "call", None, {"question": "Why?", "schema": {"type": "object"}}),
    events.TurnResumed("turn", "call"),
    events.ApprovalRequested("turn", "call", "pay", {"n": 1}, "It asks.", "pay(*)", 1_700_000_000_000, "helper", 1),
    events.ApprovalDecided("turn", "call", True, "ann", True, "fine", "session"),
    events.Relayed(events.EventKind.TOOL_CALL, "turn", {"tool": {"call_id": "c", "name": "x"}}, "helper", 1, "[Tool]"),
    events.Relayed(events.EventKind.TOOL_PROGRESS, "turn", {"call_id": "c", "text": "word"}, "helper", 1),
    events.MessageSteered("turn", "msg", "And this.", 3),
    events.BudgetReached("turn", "tokens", 80.5, 100.0, "warn"),
    events.MemoryRecalled("turn", {"recall": "recalled", "memories": [{"text": "a", "score": 0.5}], "tokens": 4}),
    events.HistorySummarized("turn", {"status": "written", "tokens": 4}),
    events.DebugLine("turn", "[Memory: 5 tokens]"),
    events.Snapshot("turn", "msg", "All."),
    events.Snapshot(None, "msg", "All."),
    events.SessionEnded("s", "expired"),
    events.SessionTerminated("s"),
]
JSON_TEXT = ("arguments", "result", "preview", "choices", "schema")


def shown(event: events.Event) -> dict[str, Any]:
    """The fields of the frame as the chunk is to have them: flat, JSON text decoded, nothing that is null."""
    frame = orjson.loads(fact_json(event))
    frame |= frame.pop("tool", {})
    return {name: value for name, value in frame.items() if value is not None}


def plain(value: Any) -> Any:
    """Numbers alike, whatever their type; times to the second."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if item not in ("", None, False, 0)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and value.isdigit():
        return float(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_chunk_has_what_the_frame_has(event: events.Event) -> None:
    run: Run = fact_run(7, event)

    [chunk] = chunks_of([run])

    frame = shown(event)
    assert (chunk.seq, chunk.type, chunk.content) == (7, frame.pop("type"), frame.pop("chunk"))
    assert chunk.done is (event.kind in ("turn_finished", "session_ended", "session_terminated"))
    found: dict[str, Any] = {}
    if event.kind is not events.EventKind.DEBUG:
        assert chunk.WhichOneof("event") == chunk.type
        found = MessageToDict(getattr(chunk, chunk.type), preserving_proto_field_name=True)
        if "tool_class" in found:
            found["class"] = found.pop("tool_class")
        for name in JSON_TEXT:
            if name in found:
                found[name] = orjson.loads(found[name])
        if "expires_at" in found:
            found["expires_at"] = found["expires_at"].replace("Z", ".000Z")
    if event.kind in ("error",):
        frame["turn_id"] = "turn"
    assert plain(found) == plain(frame)


def test_the_list_has_every_kind_that_an_event_can_have() -> None:
    has_runs = {events.EventKind.TEXT, events.EventKind.THINKING, events.EventKind.RECONNECT}
    assert {event.kind for event in EVENTS} | has_runs == set(events.EventKind)
