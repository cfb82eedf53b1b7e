"""AG-UI events: the runs of one turn as a run of AG-UI 1.0 shows them, for one reader.

Text is framed between ready bytes as it came from the model. What the protocol has no event for is `CUSTOM`, with the
name `hector.<kind>` and our frame as its value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from app.domain.act import Act, ActState
from app.domain.clock import iso
from app.domain.event import EventKind
from app.domain.message import Message
from app.events.run import Run

PROTOCOL = "1.0"
History = Callable[[int], Awaitable[list[Message]]]
"""The newest messages of the session whose number is not above this one, oldest first."""
_SILENT = frozenset({EventKind.TURN_QUEUED, EventKind.TURN_STARTED})
_APPROVAL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object", "description": "Take the place of the arguments of the call."},
        "reason": {"type": "string"},
        "remember": {"enum": ["session", "agent"], "description": "Allow the same from now on."},
    },
    "required": ["approved"],
}
_HAPPENED: dict[str, Any] = {
    "type": "object",
    "properties": {"happened": {"type": "boolean"}, "again": {"type": "boolean"}, "result": {}},
}


class AguiEvents:
    """See `Dialect`. `calls` asks for the calls that wait, `history` for the messages that a snapshot consists of.

    `goes_on_after`: up to this number the runs before have shown the turn; this one begins with a snapshot of that.
    """

    def __init__(
        self,
        thread_id: str,
        run_id: str,
        turn_id: str,
        *,
        calls: Callable[[], Awaitable[list[Act]]],
        history: History,
        goes_on_after: int | None = None,
    ) -> None:
        self.is_over = False
        self.is_waiting = False
        self._run = {"threadId": thread_id, "runId": run_id}
        self._turn_id = turn_id
        self._calls = calls
        self._history = history
        self._open: EventKind | None = None
        """The kind of delta that a message is open for: text or thinking."""
        self._message_id = ""
        self._parent: str | None = None
        """The message of the present step that its calls belong to."""
        self._before = self._between = b""
        """Bytes before the first delta of the open message, and between two."""
        self._goes_on_after = goes_on_after
        self._seq = goes_on_after or 0
        self._failure: dict[str, Any] = {}

    # -- Dialect --------------------------------------------------------------------------------

    async def begin(self) -> bytes:
        metadata = {"hector": {"turn_id": self._turn_id, "session_id": self._run["threadId"]}}
        started = _event("RUN_STARTED", **self._run, protocolVersion=PROTOCOL, metadata=metadata)
        return started if self._goes_on_after is None else started + await self._messages(self._goes_on_after)

    async def encode(self, runs: list[Run]) -> bytes:
        parts = []
        for run in runs:
            if self.is_over or (run.turn_id != self._turn_id and run.turn_id is not None):
                continue
            if run.count:
                if self._open is not run.kind:
                    parts.append(self._open_message(run))
                parts.append(self._before + (run.text if run.count == 1 else self._between.join(run.chunks)) + _AFTER)
            elif run.kind is EventKind.SNAPSHOT:
                parts.append(await self._snapshot(run))
            else:
                parts.append(self._fact(run))
            self._seq = run.last
        return b"".join(parts)

    async def pause(self) -> bytes:
        """The messages so far, then the end of the run with everything that somebody has to answer."""
        calls = await self._calls()
        if not calls:
            return b""
        outcome = {"type": "interrupt", "interrupts": [interrupt_json(act) for act in calls]}
        ended = self._finish("RUN_FINISHED", **self._run, outcome=outcome)
        return self._close() + await self._messages(self._seq) + ended

    def later(self) -> bytes:
        sentence = "The server is restarting and the turn may go on; send the same run again."
        return self._close() + self._finish("RUN_ERROR", message=sentence, code="shutting_down")

    def end(self) -> bytes:
        if self.is_over:
            return b""
        return self._close() + self._finish("RUN_FINISHED", **self._run, outcome={"type": "success"})

    async def _messages(self, upto: int) -> bytes:
        shown = [message_json(message) for message in await self._history(upto)]
        return _event("MESSAGES_SNAPSHOT", messages=shown)

    # -- text and thinking ----------------------------------------------------------------------

    def _open_message(self, run: Run) -> bytes:
        closed, self._open = self._close(), run.kind
        message_id = self._message_id = f"{self._turn_id}.{run.last - run.count + 1}"
        named = orjson.dumps(message_id)
        if run.kind is EventKind.TEXT:
            self._parent = message_id
            self._before = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":"' % named
            opened = _event("TEXT_MESSAGE_START", messageId=message_id, role="assistant")
        else:
            self._before = b'data: {"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":"' % named
            opened = _event("REASONING_START", messageId=message_id)
            opened += _event("REASONING_MESSAGE_START", messageId=message_id, role="reasoning")
        self._between = _AFTER + self._before
        return closed + opened

    def _close(self) -> bytes:
        kind, self._open = self._open, None
        if kind is None:
            return b""
        if kind is EventKind.TEXT:
            return _event("TEXT_MESSAGE_END", messageId=self._message_id)
        ended = _event("REASONING_MESSAGE_END", messageId=self._message_id)
        return ended + _event("REASONING_END", messageId=self._message_id)

    # -- facts ----------------------------------------------------------------------------------

    def _fact(self, run: Run) -> bytes:
        if run.kind in _SILENT:
            return b""
        frame = orjson.loads(run.payload)
        match run.kind:
            case EventKind.TOOL_CALL:
                return self._close() + self._tool_call(frame["tool"], run)
            case EventKind.TOOL_RESULT:
                return self._close() + self._tool_result(frame, run)
            case EventKind.MESSAGE_STEERED:
                return self._close() + _said_by_user(frame)
            case EventKind.ERROR:
                self._failure = frame
                return b""
            case EventKind.TURN_FINISHED:
                return self._close() + self._turn_finished(frame)
            case EventKind.SESSION_ENDED | EventKind.SESSION_TERMINATED:
                sentence = "The session is over."
                return self._close() + self._finish("RUN_ERROR", message=sentence, code=run.kind.value)
            case EventKind.WAITING:
                self.is_waiting = True
            case EventKind.RESUMED:
                self.is_waiting = False
        del frame["chunk"], frame["type"]
        return _event("CUSTOM", name=f"hector.{run.kind}", value=frame)

    def _tool_call(self, tool: Mapping[str, Any], run: Run) -> bytes:
        call_id = tool["call_id"]
        parent: dict[str, Any] = {}
        if "depth" not in tool:
            if self._parent is None:
                self._parent = f"{self._turn_id}.{run.last}"
            parent = {"parentMessageId": self._parent}
        started = _event(
            "TOOL_CALL_START", toolCallId=call_id, toolCallName=tool["name"], **parent, **_own(tool, _OF_CALL)
        )
        arguments = orjson.dumps(tool["arguments"]).decode()
        return (
            started
            + _event("TOOL_CALL_ARGS", toolCallId=call_id, delta=arguments)
            + _event("TOOL_CALL_END", toolCallId=call_id)
        )

    def _tool_result(self, frame: Mapping[str, Any], run: Run) -> bytes:
        if "depth" not in frame:
            self._parent = None  # what comes now is another step
        found = frame["preview"] if "preview" in frame else frame.get("result")
        return _event(
            "TOOL_CALL_RESULT",
            messageId=f"{self._turn_id}.{run.last}",
            toolCallId=frame["call_id"],
            content=found if isinstance(found, str) else orjson.dumps(found).decode(),
            role="tool",
            **_own(frame, _OF_RESULT),
        )

    async def _snapshot(self, run: Run) -> bytes:
        """Text was taken back, or is given as a whole: the only word for that is the list of all messages."""
        frame = orjson.loads(run.payload)
        closed, known = self._close(), await self._history(run.last)
        shown = [message_json(message) for message in known if message.message_id != frame["message_id"]]
        if frame["text"]:
            shown.append({"id": frame["message_id"], "role": "assistant", "content": frame["text"]})
            self._parent = frame["message_id"]
        return closed + _event("MESSAGES_SNAPSHOT", messages=shown)

    def _turn_finished(self, frame: Mapping[str, Any]) -> bytes:
        status, usage = frame["status"], _usage(frame.get("usage"))
        if status in ("failed", "interrupted"):
            message = self._failure.get("message") or "The server stopped while this turn ran; its text so far is kept."
            code = self._failure.get("reason") or frame.get("reason") or status
            return self._finish("RUN_ERROR", message=message, code=code, **usage)
        outcome = {"type": "success" if status == "completed" else "cancelled"}
        names = ("turn_id", "status", "reason", "message_id", "finish_reason")
        result = {name: frame[name] for name in names if frame.get(name) is not None}
        return self._finish("RUN_FINISHED", **self._run, outcome=outcome, result=result, **usage)

    def _finish(self, kind: str, **fields: Any) -> bytes:
        self.is_over = True
        return _event(kind, **fields)


_AFTER = b'"}\n\n'
_OF_CALL = ("class", "step", "agent", "depth")
_OF_RESULT = ("status", "ms", "result_id", "bytes", "sandbox", "agent", "depth")


def run_error(thread_id: str, run_id: str, message: str, code: str) -> bytes:
    """A run that began and failed at once."""
    started = _event("RUN_STARTED", threadId=thread_id, runId=run_id, protocolVersion=PROTOCOL)
    return started + _event("RUN_ERROR", message=message, code=code)


def interrupt_json(act: Act) -> dict[str, Any]:
    """What a person has to answer before the turn goes on; `id` is the call's."""
    asked = act.asked or {}
    shown: dict[str, Any] = {"id": act.call_id, "toolCallId": act.call_id}
    if act.state is ActState.UNKNOWN:
        shown |= {"reason": "confirmation", "responseSchema": _HAPPENED}
    elif act.waiting_for == "approval":
        shown |= {"reason": "tool_call", "responseSchema": _APPROVAL}
    elif act.waiting_for == "input":
        choices = {"enum": asked["choices"]} if asked.get("choices") else {}
        shown |= {"reason": "input_required", "responseSchema": asked.get("schema") or {"type": "string", **choices}}
    else:
        shown |= {"reason": "hector:result", "responseSchema": {}}
    message = asked.get("question") or act.why
    if message:
        shown["message"] = message
    if act.expires_ms is not None:
        shown["expiresAt"] = iso(act.expires_ms)
    call = {"name": act.name, "arguments": _json_or_text(act.effective), "agent": act.agent, "rule": act.rule}
    shown["metadata"] = {"hector": {name: value for name, value in call.items() if value is not None}}
    return shown


def message_json(message: Message) -> dict[str, Any]:
    """A message of the history, in the form of AG-UI."""
    shown: dict[str, Any] = {"id": message.message_id, "role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        shown["toolCallId"] = message.tool_call_id
    if message.tool_calls:
        shown["toolCalls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return shown


def _said_by_user(frame: Mapping[str, Any]) -> bytes:
    named = {"messageId": frame["message_id"]}
    return (
        _event("TEXT_MESSAGE_START", **named, role="user")
        + _event("TEXT_MESSAGE_CONTENT", **named, delta=frame["message"])
        + _event("TEXT_MESSAGE_END", **named)
    )


def _own(frame: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What the protocol has no field for."""
    own = {name: frame[name] for name in names if frame.get(name) is not None}
    return {"metadata": {"hector": own}} if own else {}


def _usage(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    if usage is None:
        return {}
    names = {"inputTokens": "prompt_tokens", "outputTokens": "completion_tokens", "totalTokens": "total_tokens"}
    return {"usage": [{theirs: usage[ours] for theirs, ours in names.items()}]}


def _json_or_text(written: str) -> Any:
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError:
        return written


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"type": kind, **fields})
