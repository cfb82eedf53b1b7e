"""Follower: the events of one session as frames on one socket.

The client keeps 1,024 events and drops what does not fit, so text is merged: a frame every 30 ms at most, and one for
all that a reader has missed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.compat.vectorshift import frames
from app.compat.vectorshift.history import text_of_turn
from app.conversation.conversation import Attached
from app.conversation.stream import Later, Silence, stream
from app.domain.errors import Unavailable, session_over
from app.domain.event import EventKind
from app.doors.pacing import pause
from app.events.run import Run
from app.llm.base import unescape
from app.runtime import Runtime

MERGE_SECONDS = 0.03
MOST_TEXT = 1 << 17
"""Bytes of one delta: what the server holds for a client that does not read, some three times over."""
OVER, TERMINATED, LATER = 1000, 4410, 1012
"""Close codes: the session takes no more messages, is gone, the server stops."""
_ANSWERS = frozenset({EventKind.APPROVAL_DECIDED, EventKind.TOOL_RESULT})
_ASKED = ("arguments", "why", "expires_at", "question", "choices", "schema")
MOST_KEPT = 1 << 16
"""Bytes of an answer that are kept for its complete frame; a longer one is read from the database."""
Sender = Callable[[bytes], Awaitable[None]]


class Follower:
    """Sends what happens in a session. The caller has entered the reading of `attached`."""

    def __init__(self, runtime: Runtime, attached: Attached, send: Sender, *, shows_tools: bool) -> None:
        self._runtime = runtime
        self._reading = attached.reading
        self._view = attached.view
        self._log = attached.reading.log
        self._send = send
        self._shows_tools = shows_tools
        self._text: list[bytes] = []
        self._size = 0
        self._is_thinking = False
        """Whether `_text` is the model's thinking."""
        self._turn_id: str | None = None
        """The turn that `_message_id` and `_index` are of."""
        self._message_id = ""
        self._index = 0
        self._kept_turn: str | None = None
        """The turn whose whole text so far is in `_kept`."""
        self._kept: list[bytes] = []
        self._kept_size = 0

    @property
    def _session_id(self) -> str:
        return self._log.session.session_id

    async def run(self) -> int | None:
        """Until nothing more comes. Returns the code to close the socket with; `None`: the reader has left."""
        async for news in stream(self._runtime.conversation, self._reading, self._view):
            if isinstance(news, Silence):
                continue
            if isinstance(news, Later):
                await self._send(frames.error(self._session_id, "The server is stopping; connect again."))
                return LATER
            code = await self._show(news)
            if code is not None:
                return code
            if self._text and not (self._reading.has_news and self._size < MOST_TEXT):
                await self._flush()
                await pause(self._reading, MERGE_SECONDS)  # what comes meanwhile is one delta
        return None if self._reading.gone else OVER

    async def _show(self, runs: list[Run]) -> int | None:
        settled = {_payload(run)["call_id"] for run in runs if run.kind in _ANSWERS}  # of what a late reader missed
        for run in runs:
            if run.kind in (EventKind.TEXT, EventKind.THINKING):
                await self._add(run)
                continue
            await self._flush()
            if run.kind is EventKind.SESSION_TERMINATED:
                return await self._close("terminated", TERMINATED)
            if run.kind is EventKind.SESSION_ENDED:
                return await self._close("expired" if _payload(run).get("reason") else "ended", OVER)
            await self._show_fact(run, settled)
        return None

    async def _show_fact(self, run: Run, settled: set[str]) -> None:
        match run.kind:
            case EventKind.TURN_STARTED | EventKind.RESUMED:
                if run.kind is EventKind.TURN_STARTED:
                    self._kept_turn, self._kept, self._kept_size = run.turn_id, [], 0
                await self._send(frames.status(self._session_id, "Processing"))
            case EventKind.TOOL_CALL:
                tool = _payload(run)["tool"]
                await self._show_tool(tool["name"], tool["call_id"], "streaming")
            case EventKind.TOOL_RESULT:
                ended = _payload(run)
                word = "complete" if ended["status"] == "settled" else "error"
                await self._show_tool(ended["name"], ended["call_id"], word)
            case EventKind.APPROVAL_REQUEST | EventKind.WAITING:
                asked = _payload(run)
                # An approval has an event of its own; a result that comes later is nobody's to give here.
                is_question = asked.get("waiting_for", "input") == "input"
                if is_question and asked.get("call_id", "") not in {"", *settled}:
                    await self._ask(asked)
            case EventKind.ERROR:
                content = {"type": "error_message", "error": _payload(run)["message"]}
                await self._notify(self._begin(run.turn_id), content)
            case EventKind.SNAPSHOT:
                self._kept_turn = None
            case EventKind.TURN_FINISHED:
                await self._finish(run, _payload(run))
            case _:  # nothing that the client has a frame for
                pass

    def _begin(self, turn_id: str | None) -> str:
        """The id under which the client knows the answer of a turn: the same for all of its steps."""
        if turn_id != self._turn_id or not self._message_id:
            turns = self._runtime.history.open_turns(self._log)
            known = next((turn.message_id for turn in turns if turn.turn_id == turn_id), None)
            self._turn_id, self._message_id, self._index = turn_id, known or turn_id or "", 0
        return self._message_id

    async def _add(self, run: Run) -> None:
        is_thinking = run.kind is EventKind.THINKING
        if is_thinking is not self._is_thinking:
            await self._flush()
            self._is_thinking = is_thinking
        self._begin(run.turn_id)
        if not is_thinking:
            self._keep(run)
        if is_thinking or not self._view.whole:
            self._text.append(run.text)
            self._size += len(run.text)

    def _keep(self, run: Run) -> None:
        if run.turn_id != self._kept_turn:
            return
        self._kept.append(run.text)
        self._kept_size += len(run.text)
        if self._kept_size > MOST_KEPT:
            self._kept_turn, self._kept = None, []

    async def _whole_text(self, run: Run, turn_id: str) -> str:
        """What was said in the turn that `run` ends. Raises Unavailable."""
        if turn_id == self._kept_turn:
            return unescape(b"".join(self._kept))
        return await text_of_turn(self._runtime, self._log, turn_id, upto=run.last)

    async def _flush(self) -> None:
        if not self._text:
            return
        text, self._text, self._size = b"".join(self._text), [], 0
        if self._is_thinking:
            await self._notify(self._message_id, {"type": "thinking", "content": unescape(text)})
            return
        await self._send(frames.delta(self._session_id, self._message_id, self._index, text))
        self._index += 1

    async def _finish(self, run: Run, finished: dict[str, Any]) -> None:
        """The whole text, or why there is none; then the client may send again."""
        message_id = self._begin(run.turn_id)
        if finished["status"] == "completed":
            try:
                text = await self._whole_text(run, finished["turn_id"])
                if self._view.whole and text:
                    await self._send(frames.delta(self._session_id, message_id, 0, orjson.dumps(text)[1:-1]))
                await self._send(frames.complete(self._session_id, self._log.session.agent, message_id, text))
            except Unavailable as error:
                await self._notify(message_id, {"type": "error_message", "error": error.message})
        elif finished["status"] != "failed":  # whose error was sent
            content = {"type": "error_message", "error": f"The turn was {finished['status']}."}
            await self._notify(message_id, content)
        await self._send(frames.status(self._session_id, "Idle"))

    async def _ask(self, asked: dict[str, Any]) -> None:
        """A call waits for a yes, or a question for its answer."""
        await self._send(frames.status(self._session_id, "AwaitingApproval"))
        name, call_id = asked.get("name", "ask_user"), asked["call_id"]
        told = {field: asked[field] for field in _ASKED if field in asked}
        content = {"type": "tool_call_approval", "tool_id": name, "tool_name": name, "tool_call_id": call_id, **told}
        await self._notify(call_id, content)

    async def _show_tool(self, name: str, call_id: str, word: Any) -> None:
        if self._shows_tools:
            await self._notify(call_id, frames.tool_content(name, call_id, word))

    async def _notify(self, message_id: str, content: dict[str, Any]) -> None:
        await self._send(frames.notification(self._session_id, self._log.session.agent, message_id, content))

    async def _close(self, word: str, code: int) -> int:
        sentence = session_over(word, self._session_id).message
        await self._send(frames.error(self._session_id, sentence))
        await self._send(frames.status(self._session_id, "Offline"))
        return code


def _payload(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(run.payload)
    return found
