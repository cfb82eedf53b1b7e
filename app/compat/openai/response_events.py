"""A turn as the events of a response.

`sequence_number` is the number of our event, counted from the turn's first one, and one more for each event that this
dialect has beside ours. Both follow from the log, so a reader that comes back, also after a restart, is given the
turn from its start and sent what lies above the number it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from app.compat.openai.calls import calls_asked
from app.compat.openai.endings import failure_of
from app.compat.openai.relay import DONE
from app.compat.openai.response_object import (
    End,
    end_of,
    item_id,
    item_json,
    output_of,
    part_json,
    response_json,
    response_of,
)
from app.domain.event import EventKind
from app.domain.turn import Failure, Turn, TurnState, Usage
from app.events.log import SessionLog
from app.events.run import Run
from app.llm.base import escape
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

_LAST = {"completed": "response.completed", "failed": "response.failed"}
"""By status; there is no event for a response that was cancelled, so it ends as one that is incomplete."""


class ResponseEvents:
    """Writes the events of one turn (see `relay.Writer`). `after`: the last number that the reader has."""

    def __init__(
        self,
        runtime: Runtime,
        session_log: SessionLog,
        turn: OpenTurn | Turn,
        *,
        after: int = -1,
        previous: str | None = None,
        has_calls: bool = False,
        since: int = 0,
    ) -> None:
        """`has_calls`: the caller has tools, and is handed the calls of them. `since`: the number after which this
        response begins, of a turn that had waited for them.
        """
        self._has_calls = has_calls
        self._since = since
        self._runtime = runtime
        self._log = session_log
        self._turn = turn
        self._after = after
        self._previous = previous
        self._first = turn.after + 1 if isinstance(turn, OpenTurn) else turn.first_seq
        self._extra = 0
        self._number = -1
        """Of the newest event, sent or not."""
        self._place = 0
        self._closed = 0
        """Items that were said to their end."""
        self._is_open = False
        """Whether item `_place` was begun."""
        self._shown = 0
        """Bytes of its text, escaped."""
        self._form = b""
        self._failure: Failure | None = None
        self._is_begun = self._is_over = False

    @property
    def is_over(self) -> bool:
        return self._is_over

    def opening(self) -> bytes:
        return self._begin(self._since, "in_progress") if self._since else b""

    # -- text -----------------------------------------------------------------------------------

    def text(self, run: Run) -> bytes:
        if run.kind is not EventKind.TEXT:
            return b""
        self._shown += len(run.text)
        first = run.last - run.count + 1
        head = b"" if self._is_open else self._open(first)
        start = first - self._first + self._extra
        self._number = last = start + run.count - 1
        if self._after >= start:
            left_out = min(self._after - start + 1, run.count)
            start, chunks = start + left_out, run.chunks[left_out:]
        else:
            chunks = run.chunks
        if not chunks:
            return head
        if len(chunks) == 1:
            return head + self._form % (start, chunks[0])
        values: list[object] = [None] * (2 * len(chunks))
        values[::2] = range(start, last + 1)
        values[1::2] = chunks
        run.pack()
        return head + self._form * len(chunks) % tuple(values)

    def _open(self, seq: int) -> bytes:
        """Begin an item, before event `seq`, which is its first text."""
        self._is_open = True
        place, name = self._place, item_id(self._turn.turn_id, self._place, self._since)
        self._form = (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%%d,'
            b'"item_id":"%b","output_index":%d,"content_index":0,"delta":"%%b","logprobs":[]}\n\n'
            % (name.encode(), place)
        )
        item = item_json(self._turn.turn_id, place, None, "in_progress", self._since)
        added = self._event(seq, "response.output_item.added", output_index=place, item=item)
        self._extra += 1
        where: dict[str, Any] = {"item_id": name, "output_index": place, "content_index": 0}
        part = self._event(seq, "response.content_part.added", **where, part=part_json(""))
        self._extra += 1
        return added + part

    # -- facts ----------------------------------------------------------------------------------

    async def fact(self, run: Run) -> bytes:
        match run.kind:
            case EventKind.TURN_QUEUED:
                return self._begin(run.last, "queued")
            case EventKind.TURN_STARTED:
                return self._begin(run.last, "in_progress")
            case EventKind.TOOL_CALL if self._is_open:
                return self._close(run.last, await output_of(self._runtime, self._log, self._turn, since=self._since))
            case EventKind.SNAPSHOT:
                return self._snapshot(run.last, orjson.loads(run.payload)["text"])
            case EventKind.ERROR:
                self._failure = failure_of(orjson.loads(run.payload))
            case EventKind.WAITING if self._has_calls:
                return await self._hand_over(run.last)
            case EventKind.TURN_FINISHED:
                return await self._end(run.last, self._end_of(orjson.loads(run.payload)))
        return b""

    async def _hand_over(self, seq: int) -> bytes:
        """The caller carries out the calls that wait for it, if there are any, and comes back with the results."""
        asked = await calls_asked(self._runtime, self._log, self._turn, None)
        if asked is None:
            return b""
        self._is_over = True
        body = b""
        for item in asked.items:
            where = {"output_index": self._place, "item_id": item["id"]}
            for kind, fields in (
                ("output_item.added", {"output_index": self._place, "item": item | {"arguments": ""}}),
                ("function_call_arguments.delta", {**where, "delta": item["arguments"]}),
                ("function_call_arguments.done", {**where, "name": item["name"], "arguments": item["arguments"]}),
                ("output_item.done", {"output_index": self._place, "item": item}),
            ):
                body += self._event(seq, f"response.{kind}", **fields)
                self._extra += 1
            self._place += 1
        shown = await response_of(self._runtime, self._log, self._turn, previous=self._previous, since=self._since)
        return body + self._event(seq, "response.completed", response=shown) + DONE

    async def closing(self) -> bytes:
        """The stream is over. Where the events of the turn's end are not kept any more, its row tells it."""
        turn = self._turn
        if self._is_over or not isinstance(turn, Turn) or not turn.state.is_final:
            return b""
        return await self._end(max(turn.last_seq or 0, self._log.visible_seq), end_of(turn))

    def later(self) -> bytes:
        shown = {
            "type": "error",
            "code": "shutting_down",
            "message": "The server is shutting down; read on with starting_after in a moment.",
            "param": None,
            "sequence_number": max(self._number, 0),
        }
        return b"event: error\ndata: %b\n\n" % orjson.dumps(shown)

    def _begin(self, seq: int, status: str) -> bytes:
        state = TurnState.QUEUED if status == "queued" else TurnState.RUNNING
        shown = response_json(self._turn, self._log.session, End(state), [], previous=self._previous)
        body = b""
        if not self._is_begun:
            self._is_begun = True
            body = self._event(seq, "response.created", response=shown)
            self._extra += 1
        return body + self._event(seq, f"response.{status}", response=shown)

    def _snapshot(self, seq: int, text: str) -> bytes:
        """The whole text of an item, because its events are not kept or died with a process."""
        escaped = escape(text)
        if len(escaped) > self._shown:
            head = b"" if self._is_open else self._open(seq)
            rest = escaped[self._shown :]
            self._shown = len(escaped)
            return head + self._numbered(seq, lambda number: self._form % (number, rest))
        if text or not (self._is_open or self._after > self._number):
            return b""
        return self._take_back(seq)

    def _take_back(self, seq: int) -> bytes:
        """The reader has a text that is said again: its item ends incomplete, and another one begins."""
        item = item_json(self._turn.turn_id, self._place, None, "incomplete", self._since)
        body = self._event(seq, "response.output_item.done", output_index=self._place, item=item)
        self._is_open = False
        self._place, self._shown = self._place + 1, 0
        return body

    def _close(self, seq: int, output: Sequence[dict[str, Any]]) -> bytes:
        """The item is said to its end, as the output has it."""
        text, status = "", "incomplete"
        if self._closed < len(output):
            text, status = output[self._closed]["content"][0]["text"], output[self._closed]["status"]
        self._closed += 1
        place, name = self._place, item_id(self._turn.turn_id, self._place, self._since)
        where: dict[str, Any] = {"item_id": name, "output_index": place, "content_index": 0}
        body = b""
        for kind, fields in (
            ("response.output_text.done", {**where, "text": text, "logprobs": []}),
            ("response.content_part.done", {**where, "part": part_json(text)}),
            (
                "response.output_item.done",
                {"output_index": place, "item": item_json(self._turn.turn_id, place, text, status, self._since)},
            ),
        ):
            body += self._event(seq, kind, **fields)
            self._extra += 1
        self._is_open = False
        self._place, self._shown = place + 1, 0
        return body

    async def _end(self, seq: int, end: End) -> bytes:
        self._is_over = True
        output = await output_of(self._runtime, self._log, self._turn, since=self._since)
        body = self._close(seq, output) if self._is_open else b""
        shown = response_json(self._turn, self._log.session, end, output, previous=self._previous)
        kind = _LAST.get(end.status, "response.incomplete")
        self._after = min(self._after, seq - self._first + self._extra - 1)  # the end is told to whoever asks
        return body + self._event(seq, kind, response=shown) + DONE

    def _end_of(self, event: dict[str, Any]) -> End:
        usage = event.get("usage")
        return End(
            TurnState(event["status"]),
            Usage(usage["prompt_tokens"], usage["completion_tokens"], usage["source"]) if usage else None,
            event.get("finish_reason"),
            self._failure,
        )

    # -- numbers --------------------------------------------------------------------------------

    def _event(self, seq: int, kind: str, **fields: Any) -> bytes:
        """An event before ours, or ours; nothing if the reader has it."""

        def write(number: int) -> bytes:
            shown = {"type": kind, "sequence_number": number, **fields}
            return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(shown))

        return self._numbered(seq, write)

    def _numbered(self, seq: int, write: Any) -> bytes:
        self._number = number = seq - self._first + self._extra
        return write(number) if number > self._after else b""
