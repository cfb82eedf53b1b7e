"""Progress of a call: what happens in its turn, as `notifications/progress`, for clients that ask for it.

The messages of kind `text` (`_meta`: `hector/type`) add up to what the agent has said; the others are for people.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from mcp import types
from mcp.server.context import ServerRequestContext

from app.domain.event import EventKind
from app.events.follow import Reading
from app.events.run import Run
from app.llm.base import unescape

KIND = "hector/type"
MAX_TEXT = 50_000
"""Characters of one notification: a reader that lags gets much at once, and the SDK's client takes 1 MiB an event."""


class Progress:
    """Of one call. The caller hands in what its stream yields, and awaits: a slow client slows its own reading."""

    def __init__(self, context: ServerRequestContext, reading: Reading, *, seconds: float) -> None:
        """`seconds`: text of so long goes into one notification."""
        self._context = context
        self._reading = reading
        self._token = (context.meta or {}).get("progress_token")
        self._seconds = seconds
        self._count = 0
        self._text: list[str] = []
        self._size = 0
        """Characters of `_text`."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False

    async def show(self, runs: list[Run]) -> None:
        if self._token is None:
            return
        for run in runs:
            if run.kind is EventKind.TEXT and run.count:
                await self._keep(unescape(run.text))
            elif (message := _message_of(run)) is not None:
                await self.flush()
                await self._tell(message, run.kind.value)
        if self._is_due:
            await self.flush()
        elif self._text and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._come_due)

    async def _keep(self, text: str) -> None:
        """Keep text back, but not more than a notification takes: of a reader that lags, the rest waits in the log."""
        self._text.append(text)
        self._size += len(text)
        if self._size >= MAX_TEXT:
            await self.flush()

    async def tell_phase(self, phase: dict[str, object]) -> None:
        """Nothing has come for a while, or text is due."""
        if self._text:
            await self.flush()
        elif self._token is not None:
            await self._tell(str(phase.get("phase", "")), "phase")

    async def flush(self) -> None:
        """Send the text that was kept back."""
        self.close()
        text, self._text, self._size, self._is_due = "".join(self._text), [], 0, False
        for begin in range(0, len(text), MAX_TEXT):
            await self._tell(text[begin : begin + MAX_TEXT], EventKind.TEXT.value)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _come_due(self) -> None:
        self._timer = None
        self._is_due = True
        self._reading.notify()

    async def _tell(self, message: str, kind: str) -> None:
        assert self._token is not None
        self._count += 1
        params = types.ProgressNotificationParams(
            progress_token=self._token, progress=self._count, message=message, _meta={KIND: kind}
        )
        notification = types.ProgressNotification(params=params)
        await self._context.session.send_notification(notification, related_request_id=self._context.request_id)


def _message_of(run: Run) -> str | None:
    """A fact in a line for people; `None` for those that say nothing of how far the turn is."""
    match run.kind:
        case EventKind.TURN_QUEUED:
            return "queued"
        case EventKind.TURN_STARTED:
            return "started"
        case EventKind.TOOL_CALL:
            return _tool_call(orjson.loads(run.payload))
        case EventKind.TOOL_PROGRESS:
            found = orjson.loads(run.payload)
            return str(found.get("text") or found.get("percent") or "").strip() or None
        case EventKind.TOOL_RESULT:
            found = orjson.loads(run.payload)
            return f"{found.get('name')}: {found.get('status')}"
        case EventKind.WAITING:
            return f"waiting for {orjson.loads(run.payload).get('waiting_for')}"
        case EventKind.RESUMED:
            return "goes on"
        case _:
            return None


def _tool_call(found: dict[str, Any]) -> str:
    shown = str(found.get("chunk") or "").strip()
    return shown or f"[Tool: {found.get('tool', {}).get('name')}]"
