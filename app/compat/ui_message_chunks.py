"""UI message chunks: the runs of one turn as one message of the AI SDK's UI message stream v1, for one reader.

A step of the turn is a step of the message, so that text which is taken back can be (`reset-step`). What the stream has
no chunk for is `data-hector-<kind>`, transient, with our frame as its data.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from app.domain.act import Act
from app.domain.event import EventKind
from app.events.run import Run

DONE = b"data: [DONE]\n\n"
_AFTER = b'"}\n\n'
_SILENT = frozenset({EventKind.TURN_QUEUED, EventKind.TURN_STARTED})
_FINISH_REASONS = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls"}
_NAMES = {EventKind.TEXT: "text", EventKind.THINKING: "reasoning"}


class UiMessageChunks:
    """See `Dialect`. `calls` asks for the calls that wait.

    `goes_on`: the reader has the message up to here, and this stream has what comes behind its open calls.
    """

    def __init__(
        self, session_id: str, turn_id: str, *, calls: Callable[[], Awaitable[list[Act]]], goes_on: bool = False
    ) -> None:
        self.is_over = False
        self.is_waiting = False
        self._session_id = session_id
        self._turn_id = turn_id
        self._calls = calls
        self._in_step = False
        self._has_calls = goes_on
        """Whether the present step has asked for its calls: what is said from now on is another step."""
        self._step = 0
        self._inputs: dict[str, tuple[str, object]] = {}
        self._open: EventKind | None = None
        """The kind of delta that a part is open for: text or thinking."""
        self._part_id = ""
        self._before = self._between = b""
        """Bytes before the first delta of the open part, and between two."""
        self._failure: dict[str, Any] = {}

    # -- Dialect --------------------------------------------------------------------------------

    async def begin(self) -> bytes:
        metadata = {"turnId": self._turn_id, "sessionId": self._session_id}
        return _chunk("start", messageId=self._turn_id, messageMetadata=metadata)

    async def encode(self, runs: list[Run]) -> bytes:
        parts = []
        for run in runs:
            if self.is_over or (run.turn_id != self._turn_id and run.turn_id is not None):
                continue
            if run.count:
                if self._open is not run.kind:
                    parts.append(self._open_part(run))
                parts.append(self._before + (run.text if run.count == 1 else self._between.join(run.chunks)) + _AFTER)
            else:
                parts.append(self._fact(run))
        return b"".join(parts)

    async def pause(self) -> bytes:
        """The message ends here; the page sends the answers and gets the rest."""
        if not await self._calls():
            return b""
        return self._close_step() + self._finish(_chunk("finish", finishReason="tool-calls"))

    def later(self) -> bytes:
        sentence = "The server is restarting and the answer may go on; open the stream of this chat again."
        return self._close_step() + self._finish(_chunk("error", errorText=sentence))

    def end(self) -> bytes:
        return b"" if self.is_over else self._close_step() + self._finish(_chunk("finish"))

    # -- steps and parts ------------------------------------------------------------------------

    def _begin_step(self) -> bytes:
        """Before anything is said: a step of its own for what comes after calls."""
        if self._in_step and not self._has_calls:
            return b""
        closed = self._close_step()
        self._in_step, self._has_calls = True, False
        return closed + _chunk("start-step")

    def _close_step(self) -> bytes:
        closed, was_in_step = self._close_part(), self._in_step
        self._in_step = False
        return closed + (_chunk("finish-step") if was_in_step else b"")

    def _open_part(self, run: Run) -> bytes:
        opened = self._close_part() + self._begin_step()
        name, self._open = _NAMES[run.kind], run.kind
        part_id = self._part_id = f"{self._turn_id}.{run.last - run.count + 1}"
        self._before = b'data: {"type":"%b-delta","id":%b,"delta":"' % (name.encode(), orjson.dumps(part_id))
        self._between = _AFTER + self._before
        return opened + _chunk(f"{name}-start", id=part_id)

    def _close_part(self) -> bytes:
        kind, self._open = self._open, None
        return b"" if kind is None else _chunk(f"{_NAMES[kind]}-end", id=self._part_id)

    # -- facts ----------------------------------------------------------------------------------

    def _fact(self, run: Run) -> bytes:
        if run.kind in _SILENT:
            return b""
        frame = orjson.loads(run.payload)
        match run.kind:
            case EventKind.TOOL_CALL:
                return self._close_part() + self._tool_call(frame["tool"])
            case EventKind.TOOL_PROGRESS if frame["call_id"] in self._inputs:
                shown = {name: frame[name] for name in ("text", "percent") if name in frame}
                return _output(frame["call_id"], shown, preliminary=True)
            case EventKind.TOOL_RESULT:
                return self._close_part() + _tool_result(frame)
            case EventKind.APPROVAL_REQUEST:
                call_id = frame["call_id"]
                return _chunk("tool-approval-request", approvalId=call_id, toolCallId=call_id, reason=frame["why"])
            case EventKind.APPROVAL_DECIDED if frame["call_id"] in self._inputs:
                reason = {"reason": frame["reason"]} if "reason" in frame else {}
                return _chunk(
                    "tool-approval-response", approvalId=frame["call_id"], approved=frame["approved"], **reason
                )
            case EventKind.MESSAGE_STEERED:
                said = [{"type": "text", "text": frame["message"]}]
                return self._close_part() + _chunk("steering-message", id=frame["message_id"], parts=said)
            case EventKind.SNAPSHOT:
                return self._snapshot(frame, run)
            case EventKind.ERROR:
                self._failure = frame
                return b""
            case EventKind.TURN_FINISHED:
                return self._close_step() + self._turn_finished(frame)
            case EventKind.SESSION_ENDED | EventKind.SESSION_TERMINATED:
                return self._close_step() + self._finish(_chunk("abort", reason=run.kind.value))
            case EventKind.WAITING:
                self.is_waiting = True
                return self._waiting(frame)
            case EventKind.RESUMED:
                self.is_waiting = False
        return _own(run.kind, frame)

    def _tool_call(self, tool: Mapping[str, Any]) -> bytes:
        begun = b""
        if "depth" not in tool:
            if tool["step"] != self._step:
                begun, self._step = self._begin_step(), tool["step"]
            self._has_calls = True
        self._inputs[tool["call_id"]] = (tool["name"], tool["arguments"])
        return begun + _input(tool["call_id"], tool["name"], tool["arguments"], providerExecuted=True)

    def _waiting(self, frame: dict[str, Any]) -> bytes:
        """A question, or a result that comes later, is the page's to give: the call is handed to it."""
        call_id = frame.get("call_id")
        if frame["waiting_for"] == "approval" or call_id not in self._inputs:
            return _own(EventKind.WAITING, frame)
        name, arguments = self._inputs[call_id]
        return _own(EventKind.WAITING, frame) + _input(call_id, name, arguments, providerExecuted=False)

    def _snapshot(self, frame: Mapping[str, Any], run: Run) -> bytes:
        """The text of the present step is taken back, and this stands in its place."""
        taken_back = b""
        if self._in_step and not self._has_calls:
            self._open = None
            taken_back = _chunk("reset-step")
        if not frame["text"]:
            return taken_back
        begun = taken_back + self._close_part() + self._begin_step()
        part_id = f"{self._turn_id}.{run.last}"
        said = _chunk("text-start", id=part_id) + _chunk("text-delta", id=part_id, delta=frame["text"])
        return begun + said + _chunk("text-end", id=part_id)

    def _turn_finished(self, frame: Mapping[str, Any]) -> bytes:
        status, reason = frame["status"], frame.get("reason")
        if status == "cancelled":
            return self._finish(_chunk("abort", **({"reason": reason} if reason else {})))
        if status in ("failed", "interrupted"):
            sentence = self._failure.get("message") or "The server stopped while it answered; the text so far is kept."
            return self._finish(_chunk("error", errorText=sentence))
        said = frame.get("finish_reason")
        metadata = {"usage": frame["usage"], "messageId": frame["message_id"]}
        finish_reason = {"finishReason": _FINISH_REASONS.get(said, "other")} if said else {}
        return self._finish(_chunk("finish", **finish_reason, messageMetadata=metadata))

    def _finish(self, last: bytes) -> bytes:
        self.is_over = True
        return last + DONE


def _input(call_id: str, name: str, arguments: object, **more: object) -> bytes:
    return _chunk("tool-input-available", toolCallId=call_id, toolName=name, input=arguments, dynamic=True, **more)


def _output(call_id: str, output: object, **more: object) -> bytes:
    return _chunk("tool-output-available", toolCallId=call_id, output=output, dynamic=True, **more)


def _tool_result(frame: Mapping[str, Any]) -> bytes:
    call_id, status = frame["call_id"], frame["status"]
    found = frame["preview"] if "preview" in frame else frame.get("result")
    if status == "settled":
        return _output(call_id, found)
    if status == "refused":
        return _chunk("tool-output-denied", toolCallId=call_id)
    error = found.get("error") if isinstance(found, dict) else found
    text = error if isinstance(error, str) and error else f"The call is {status}."
    return _chunk("tool-output-error", toolCallId=call_id, errorText=text, dynamic=True)


def _own(kind: EventKind, frame: dict[str, Any]) -> bytes:
    data = {name: value for name, value in frame.items() if name not in ("chunk", "type")}
    return _chunk(f"data-hector-{kind.value.replace('_', '-')}", data=data, transient=True)


def _chunk(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"type": kind, **fields})
