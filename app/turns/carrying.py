"""Carrying: one act that is being carried out: the task of its tool, its progress, its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app.domain.act import Act
from app.domain.errors import HectorError
from app.domain.event import Event, ToolProgressed
from app.domain.turn import Usage
from app.events.change import Change
from app.storage import acts as rows
from app.tools.arguments import BadArguments, parse
from app.tools.base import Later, Question, Tool, ToolContext, ToolFailed, ToolResult, ToolStopped, ToolUnknown
from app.turns import outcomes
from app.turns.acting import Acting
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.outcomes import Outcome
from app.turns.step import added, ensure_room

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.05
MOST_PROGRESS = 256 * 1024
"""Characters of one call's progress that readers are shown."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of an act: an outcome after `ms`, or that it `waits`."""

    outcome: Outcome
    ms: int | None = None
    waits: Later | Question | None = None


class Carrying:
    """Runs the tool in a task of its own, which is asked to stop and never cancelled."""

    def __init__(
        self, acting: Acting, desk: Desk, turn: OpenTurn, act: Act, tool: Tool | None, on_done: Callable[[], None]
    ) -> None:
        self._acting = acting
        self._desk = desk
        self._turn = turn
        self._act = act
        self._tool = tool
        self._events: list[Event] = []
        self._text: list[str] = []
        self._percent: float | None = None
        self._room = MOST_PROGRESS
        self._flushing: asyncio.Task[None] | None = None
        session = desk.session_log.session
        kept = dict(act.kept) if act.kept is not None else None
        self.context = ToolContext(
            call_id=act.call_id,
            session_id=session.session_id,
            turn_id=act.turn_id,
            agent=act.agent,
            principal=session.principal,
            user_id=session.user_id,
            step=act.step,
            idempotency_key=acting.key(session.session_id, act.turn_id, act.step, act.place),
            kept=kept,
            answer=kept.pop("answer", None) if kept is not None else None,
            on_progress=self._progress,
            on_event=self._relay,
            on_waiting=self._wait,
            on_usage=self._count,
            result_address=acting.result_address(session, act.call_id),
            on_keep=self._keep,
        )
        self.task = asyncio.create_task(self._run(), name=f"{act.name} {act.call_id}")
        self.task.add_done_callback(lambda _task: on_done())

    @property
    def is_done(self) -> bool:
        return self.task.done()

    def result(self) -> Carried:
        """What came of it, once it is done."""
        return self.task.result()

    def stop(self) -> None:
        self.context.stop.set()

    async def _run(self) -> Carried:
        begin = time.monotonic()
        try:
            came = await self._call()
        finally:
            await self._flush_rest()
        ms = round((time.monotonic() - begin) * 1000)
        if isinstance(came, (Later, Question)):
            return Carried(outcomes.cancelled(), ms, came)
        return Carried(came, ms)

    async def _call(self) -> Outcome | Later | Question:
        """The tool's answer; whatever it raises becomes an outcome."""
        tool, act = self._tool, self._act
        if tool is None:
            return outcomes.failed(f"The tool {act.name!r} is not there any more.")
        try:
            arguments: dict[str, Any] = parse(act.effective, tool.spec.parameters)
            came = await self._limited(tool, arguments)
        except BadArguments as error:
            return outcomes.failed(str(error))
        except ToolFailed as error:
            return outcomes.failed(str(error))
        except ToolStopped:
            return outcomes.cancelled()
        except ToolUnknown as error:
            log.warning("call %s of tool %s may or may not have happened: %s", act.call_id, act.name, error)
            return outcomes.unknown()
        except Exception as error:
            log.exception("tool %s failed by its own fault", act.name)
            return outcomes.failed(f"The tool failed: {type(error).__name__}")
        if not isinstance(came, ToolResult):
            return came
        if act.edited is not None:
            note = f"[A person changed the arguments of this call to {act.edited}]\n"
            came = replace(came, text=note + came.text)
        return self._acting.outcome_of(came)

    async def _limited(self, tool: Tool, arguments: dict[str, Any]) -> ToolResult | Later | Question:
        """The tool with its time limit: when it is over the tool is asked to stop."""
        seconds = tool.spec.timeout_seconds
        if seconds is None:
            return await tool.run(arguments, self.context)
        loop = asyncio.get_running_loop()
        is_late = False

        def late() -> None:
            nonlocal is_late
            is_late = not self.context.stop.is_set()
            self.context.stop.set()

        timer = loop.call_later(seconds, late)
        try:
            return await tool.run(arguments, self.context)
        except ToolStopped:
            if is_late:
                raise ToolFailed(f"The call took longer than {seconds:g} seconds and was stopped.") from None
            raise
        finally:
            timer.cancel()

    # -- progress -------------------------------------------------------------------------------

    def _progress(self, text: str, percent: float | None) -> None:
        text = text[: self._room]
        self._room -= len(text)
        if text:
            self._text.append(text)
        if percent is not None:
            self._percent = percent
        self._flush_soon()

    def _wait(self, is_waiting: bool) -> None:
        if is_waiting:
            self._turn.waits_below.add(self._act.call_id)
        else:
            self._turn.waits_below.discard(self._act.call_id)

    def _count(self, usage: Usage) -> None:
        self._turn.below = added(self._turn.below, usage)

    def _relay(self, event: Event) -> None:
        self._events.append(event)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_later(), name=f"progress of {self._act.call_id}")

    async def _flush_later(self) -> None:
        await asyncio.sleep(FLUSH_SECONDS)
        await self._flush()

    async def _flush_rest(self) -> None:
        if self._flushing is not None and not self._flushing.done():
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        await self._flush()

    async def _flush(self) -> None:
        """Show what has gathered: like text, before it is stored."""
        if not self._text and self._percent is None and not self._events:
            return
        try:
            await ensure_room(self._desk.session_log, 2 * len(self._turn.acts) + 1 + len(self._events))
        except HectorError as error:
            log.warning("the progress of call %s cannot be shown: %s", self._act.call_id, error)
            return
        events, text, percent = self._events, "".join(self._text), self._percent
        self._events, self._text, self._percent = [], [], None
        session_log, act = self._desk.session_log, self._act
        if session_log.over is not None or self._turn is not self._desk.open:
            return
        if text or percent is not None:
            chunk = text if self._desk.agent.config.reasoning.show_tool_execution else ""
            events.append(ToolProgressed(act.turn_id, act.call_id, text, percent, chunk))
        self._turn.shown += [session_log.show(event) for event in events]

    async def _keep(self, kept: dict[str, Any]) -> None:
        orjson.dumps(kept)  # what cannot be stored is the tool's fault, and said here
        async with Change(self._desk.session_log) as change:
            rows.add_kept(change.unit, self._act.call_id, kept)
        turn, call_id = self._turn, self._act.call_id
        turn.acts = [replace(act, kept=kept) if act.call_id == call_id else act for act in turn.acts]
