"""Delegation: an agent gives a task to another one, in a session of its own; what that does is shown at the root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from app.agents import Roster
from app.domain.errors import HectorError
from app.domain.event import EventKind, Relayed
from app.domain.label import Trust
from app.domain.principal import Principal
from app.domain.turn import Outcome, Turn, TurnState
from app.events.follow import Reading
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.events.run import Run
from app.sessions.draft import Draft
from app.sessions.service import Sessions
from app.storage import messages, turns
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolStopped
from app.tools.ports import AgentCall
from app.turns.acting import CALLED_BY, callers_of
from app.turns.admission import Admission
from app.turns.ask import Ask
from app.turns.desk import desk_of
from app.turns.history import History
from app.turns.open_turn import OpenTurn
from app.turns.stopping import Stopping

SHOWN = frozenset(
    {
        EventKind.TOOL_CALL,
        EventKind.TOOL_PROGRESS,
        EventKind.TOOL_RESULT,
        EventKind.WAITING,
        EventKind.RESUMED,
        EventKind.APPROVAL_REQUEST,
        EventKind.APPROVAL_DECIDED,
        EventKind.BUDGET,
    }
)


class Delegation:
    """Carries out calls of agents."""

    def __init__(
        self,
        live: LiveSessions,
        roster: Roster,
        sessions: Sessions,
        admission: Admission,
        stopping: Stopping,
        history: History,
        *,
        is_shutting_down: Callable[[], bool],
    ) -> None:
        self._live = live
        self._roster = roster
        self._sessions = sessions
        self._admission = admission
        self._stopping = stopping
        self._history = history
        self._is_shutting_down = is_shutting_down

    async def call(self, task: AgentCall, context: ToolContext) -> ToolResult:
        """Have the other agent answer. After a restart the same call goes on with the same session.

        Raises: ToolFailed, ToolStopped.
        """
        parent = await self._live.open(context.session_id)
        if parent is None:
            raise ToolStopped
        chain = (*callers_of(parent.session), context.agent)
        if len(chain) >= task.max_depth:
            raise ToolFailed(f"Agents may call one another {task.max_depth} deep at most; do this task yourself.")
        if task.agent in chain:
            raise ToolFailed(f"The agent {task.agent!r} has called you; it cannot be called again.")
        try:
            child, turn = await self._begin(task, context, parent, chain)
        except HectorError as error:
            raise ToolFailed(f"The agent {task.agent!r} cannot be called: {error.message}") from error
        if isinstance(turn, OpenTurn):
            await self._follow(child, turn, context, depth=len(chain))
            outcome = turn.done.result()
        else:
            outcome = await self._history.outcome_of(child, turn)
        if outcome.usage is not None:
            context.on_usage(outcome.usage)
        session_id = child.session.session_id
        trust = await child.database.read(partial(messages.least_trust, session_id=session_id))
        return _result(task.agent, outcome, trust)

    async def _begin(
        self, task: AgentCall, context: ToolContext, parent: SessionLog, chain: tuple[str, ...]
    ) -> tuple[SessionLog, OpenTurn | Turn]:
        agent = self._roster.find(task.agent)
        if agent is None:
            raise ToolFailed(f"There is no agent {task.agent!r} any more.")
        child = await self._known(context)
        if child is not None and (turn := await self._turn_of(child)) is not None:
            return child, turn
        if child is None:
            owner = Principal(context.principal, "key", context.user_id)
            draft = Draft(
                title=task.message[:80],
                metadata={CALLED_BY: list(chain)},
                ephemeral=parent.session.ephemeral,
                parent_call=context.call_id,
            )
            child, _ = await self._sessions.create(owner, task.agent, draft=draft)
            await context.keep({"session_id": child.session.session_id})
        caller = desk_of(parent)
        trust = caller.open.trust if caller is not None and caller.open is not None else "web"
        ask = Ask(task.message, trust=trust)
        turn = await self._admission.start(child, agent, ask, background=True, grace_seconds=None)
        return child, turn

    async def _known(self, context: ToolContext) -> SessionLog | None:
        """The session that this call began before a restart."""
        session_id = (context.kept or {}).get("session_id")
        return await self._live.open(str(session_id)) if session_id is not None else None

    async def _turn_of(self, child: SessionLog) -> OpenTurn | Turn | None:
        if found := self._history.open_turns(child):
            return found[0]
        return await child.database.read(partial(turns.find_first, session_id=child.session.session_id))

    async def _follow(self, child: SessionLog, turn: OpenTurn, context: ToolContext, *, depth: int) -> None:
        """Show what the child does until its turn is over. Raises ToolStopped: the call was stopped, and so is that."""
        reading = Reading(child, self._live.store_of(child).journal, after=turn.after, lag_bytes=65536)
        stopped = asyncio.ensure_future(context.stop.wait())
        try:
            with reading:
                while not turn.done.done():
                    await self._relay(reading, context, child.session.agent, depth)
                    context.on_waiting(turn.is_waiting)
                    news = asyncio.ensure_future(reading.wait())
                    await asyncio.sleep(0)  # now it waits: nothing is missed from here on
                    if not reading.has_news:
                        waited: list[asyncio.Future[Any]] = [news, stopped, turn.done]
                        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()
                    if stopped.done():
                        if not self._is_shutting_down():  # else the next process goes on with both
                            await self._stopping.cancel(child, everything=True)
                        raise ToolStopped
                await self._relay(reading, context, child.session.agent, depth)
        finally:
            stopped.cancel()
            context.on_waiting(False)

    async def _relay(self, reading: Reading, context: ToolContext, agent: str, depth: int) -> None:
        while reading.has_news:
            runs = reading.take()
            for run in await reading.replay() if runs is None else runs:
                self._show(run, context, agent, depth)

    def _show(self, run: Run, context: ToolContext, agent: str, depth: int) -> None:
        if run.kind is EventKind.TEXT:
            for _, frame in run.frames():
                fields = {"call_id": context.call_id, "text": frame["chunk"]}
                context.on_event(Relayed(EventKind.TOOL_PROGRESS, context.turn_id, fields, agent, depth))
        elif run.kind in SHOWN:
            for _, frame in run.frames():
                nested = str(frame.get("agent") or agent)
                deeper = int(frame.get("depth") or depth)
                chunk = str(frame["chunk"])
                context.on_event(Relayed(run.kind, context.turn_id, frame, nested, deeper, chunk))


def _result(agent: str, outcome: Outcome, trust: Trust) -> ToolResult:
    if outcome.state is TurnState.COMPLETED:
        return ToolResult(outcome.text, shown="", trust=trust)
    why = outcome.failure.message if outcome.failure is not None else outcome.reason or outcome.state.value
    said = f" It had said: {outcome.text}" if outcome.text else ""
    sentence = f"The agent {agent!r} did not finish: {why}.{said}"
    return ToolResult(sentence, {"error": sentence}, f"Error: {sentence}", is_error=True, trust=trust)
