"""Loop: step after step, until the model asks for nothing more, somebody has to answer, or a limit is reached."""

from __future__ import annotations

from functools import partial

from app.domain.turn import Usage
from app.llm.base import LLMRequest, StreamEnd
from app.memory.working import Entry
from app.storage import acts as rows
from app.storage import messages
from app.turns import step
from app.turns.acting import Acting, AgentTools, callers_of
from app.turns.budgets import Budgets
from app.turns.desk import Desk
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn, Prompt
from app.turns.prompt import as_entries, build, request_of
from app.turns.steering import absorb
from app.turns.summaries import Summaries
from app.turns.tool_calls import LoopDetected, ToolCalls

MOST_CALLS = 32
"""Calls of one step; a model that asks for more has lost its way."""


class Loop:
    """Runs turns. Holds no state of one."""

    def __init__(self, acting: Acting, summaries: Summaries, memory: TurnMemory | None) -> None:
        self.acting = acting
        self._summaries = summaries
        self._memory = memory

    async def run(self, desk: Desk, turn: OpenTurn) -> Usage | None:
        """Run one turn to its end; what it said last is on the log's tape. Returns what the providers say it used.

        Raises:
            TurnWaits: it goes on when somebody has answered.
            LLMStopped: `turn.stop` was set.
            LLMError, LLMTimeout: the model failed; what it said before stays.
            LoopDetected: the model does not get on.
            HectorError: the database failed.
        """
        tools = self.acting.toolbox.for_agent(desk.agent, called_by=callers_of(desk.session_log.session))
        turn.prompt = await self._prepare(desk, turn)
        if tools is None:
            return (await step.ask(desk, turn, request_of(desk, turn.prompt))).usage
        calls = ToolCalls(self.acting, desk, turn, tools, await self._remembered(desk))
        if turn.doubtful:
            await calls.resolve_doubtful(turn.doubtful)
            turn.doubtful = []
        await calls.carry_out()
        budgets = Budgets(desk, turn, self.acting)
        while True:
            await absorb(desk, turn, self.acting)
            is_last = await budgets.check()
            end = await step.ask(desk, turn, self._request(desk, turn, tools, is_last=is_last))
            await self._count(desk, turn, end)
            if not end.calls or is_last:
                return turn.used
            await calls.propose(end.calls[:MOST_CALLS])
            await calls.carry_out()
            if calls.is_looping:
                raise LoopDetected

    def _request(self, desk: Desk, turn: OpenTurn, tools: AgentTools, *, is_last: bool) -> LLMRequest:
        assert turn.prompt is not None
        request = request_of(desk, turn.prompt, turn.entries)
        if is_last:
            return request
        return LLMRequest(request.messages, request.tag, request.max_tokens, tools=tools.schemas)

    async def _count(self, desk: Desk, turn: OpenTurn, end: StreamEnd) -> None:
        assert turn.prompt is not None
        turn.used = step.added(turn.used, end.usage or await step.count_usage(desk, turn.prompt))
        turn.is_counted = True

    async def _prepare(self, desk: Desk, turn: OpenTurn) -> Prompt:
        """The prompt of the turn's first step; its own steps, if it goes on, are put into `turn.entries`."""
        if turn.ask.again is not None or turn.is_resumed:
            desk.window = None  # it holds the answer that gives way, or steps of this turn
        prompt = await self._recalled(desk, turn)
        if turn.is_resumed:
            turn.is_resumed = False
            turn.entries = await self._read_steps(desk, turn)
            assert desk.window is not None
            desk.window += turn.entries
        return prompt

    async def _recalled(self, desk: Desk, turn: OpenTurn) -> Prompt:
        memory = self._memory
        if memory is None or desk.agent.config.memory.longterm is None:
            return await build(desk, turn, self._summaries)
        turn.recalling = memory.recall(desk, turn)
        try:
            await memory.look(desk, turn)
            return await build(desk, turn, self._summaries)
        finally:
            if turn.recalling is not None:
                turn.recalling.cancel()
                turn.recalling = None

    async def _read_steps(self, desk: Desk, turn: OpenTurn) -> list[Entry]:
        query = partial(messages.of_turn, session_id=desk.session_id, turn_id=turn.turn_id)
        return as_entries(await desk.session_log.database.read(query))

    async def _remembered(self, desk: Desk) -> list[str]:
        session = desk.session_log.session
        query = partial(
            rows.remembered,
            session_id=session.session_id,
            principal=session.principal,
            user_id=session.user_id,
            agent=session.agent,
        )
        return await desk.session_log.database.read(query)
