"""Loop: step after step, until the model asks for nothing more, somebody has to answer, or a limit is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from app.domain.turn import Usage
from app.llm.base import LLM, LLMError, LLMRequest, StreamEnd
from app.memory.budget import request_limit
from app.memory.steps import has_steps
from app.memory.working import Entry
from app.storage import acts as rows
from app.storage import messages
from app.turns import step, structured
from app.turns.acting import Acting, AgentTools, callers_of
from app.turns.budgets import Budgets, SessionUse, Verdict
from app.turns.client_tools import WithClientTools
from app.turns.condensing import counted
from app.turns.desk import Desk
from app.turns.fitting import Fitted, fit
from app.turns.going_on import call_for
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn, Prompt
from app.turns.prompt import as_entries, build, request_of
from app.turns.steering import absorb
from app.turns.summaries import Summaries
from app.turns.tool_calls import LoopDetected, ToolCalls

MOST_COUNTED = 256
"""Sets of tools whose tokens are remembered."""
MOST_CALLS = 32
"""Calls of one step; a model that asks for more has lost its way."""

REFUSED_SHARE = 0.6
"""Of a request that its provider refused as too long, the next one has so many tokens."""


class Loop:
    """Runs turns. Holds no state of one."""

    def __init__(self, acting: Acting, summaries: Summaries, memory: TurnMemory | None) -> None:
        self.acting = acting
        self._summaries = summaries
        self._memory = memory
        self._tools_tokens: dict[tuple[str, tuple[bytes, ...]], int] = {}

    async def run(self, desk: Desk, turn: OpenTurn) -> Usage | None:
        """Run one turn to its end; what it said last is on the log's tape. Returns what the providers say it used.

        Raises:
            TurnWaits: it goes on when somebody has answered.
            LLMStopped: `turn.stop` was set.
            LLMError, LLMTimeout: the model failed; what it said before stays.
            LoopDetected: the model does not get on.
            HectorError: the database failed.
        """
        tools: AgentTools | None = None
        if desk.agent.llm.takes_tools:
            tools = self.acting.toolbox.for_agent(desk.agent, called_by=callers_of(desk.session_log.session))
            if turn.ask.client_tools:
                tools = WithClientTools(tools, turn.ask.client_tools)
        if tools is not None and desk.agent.budget is not None:
            budget, schemas = desk.agent.budget, tools.schemas
            budget.tools_tokens = await counted(
                lambda: self._tokens_of(desk.agent.llm, schemas), size=sum(map(len, schemas))
            )
        turn.prompt = await self._prepare(desk, turn)
        if tools is None:
            return await self._answer(desk, turn)
        calls = ToolCalls(self.acting, desk, turn, tools, await self._remembered(desk))
        if turn.doubtful:
            await calls.resolve_doubtful(turn.doubtful)
            turn.doubtful = []
        await calls.carry_out()
        budgets = Budgets(desk, turn, await self._session_use(desk, turn))
        is_last = False
        while True:
            await absorb(desk, turn, self.acting)
            is_last = is_last or await self._is_last(budgets, calls)
            end = await self._ask(desk, turn, None if is_last else tools)
            await self._count(desk, turn, end)
            if not end.calls or is_last:
                if await structured.is_answered(desk, turn, self.acting):
                    return turn.used
                continue
            await calls.propose(end.calls[:MOST_CALLS])
            await calls.carry_out()
            if calls.is_looping:
                raise LoopDetected

    async def _is_last(self, budgets: Budgets, calls: ToolCalls) -> bool:
        """Whether the next step is the last one. Raises TurnWaits: a person is asked; the turn begins here again."""
        verdict = await budgets.check()
        if verdict is Verdict.ASK:
            await calls.propose([call_for(*budgets.exceeded)])
            await calls.carry_out()
            verdict = await budgets.check()
        return verdict is Verdict.LAST

    async def _session_use(self, desk: Desk, turn: OpenTurn) -> SessionUse:
        limits = desk.agent.config.limits.session
        if limits.steps is None and limits.calls is None:
            return SessionUse()
        query = partial(rows.count, session_id=desk.session_id, without_turn=turn.turn_id)
        return SessionUse(*await desk.session_log.database.read(query))

    async def _answer(self, desk: Desk, turn: OpenTurn) -> Usage | None:
        """A turn without tools: one step, and a second one for an answer that does not have the form asked for."""
        end = await self._ask(desk, turn, None)
        if structured.wanted(desk.agent, turn.ask.response_format) is None:
            return end.usage
        await self._count(desk, turn, end)
        while not await structured.is_answered(desk, turn, self.acting):
            await self._count(desk, turn, await self._ask(desk, turn, None))
        return turn.used

    async def _ask(self, desk: Desk, turn: OpenTurn, tools: AgentTools | None) -> StreamEnd:
        """One step; a request that the provider refuses as too long is made shorter, once."""
        try:
            return await step.ask(desk, turn, await self._request(desk, turn, tools))
        except LLMError as error:
            stream = turn.stream
            if not error.is_too_long or turn.stop is not None or (stream is not None and stream.was_accepted):
                raise
            turn.step -= 1
            return await step.ask(desk, turn, await self._request(desk, turn, tools, is_refused=True))

    async def _request(
        self, desk: Desk, turn: OpenTurn, tools: AgentTools | None, *, is_refused: bool = False
    ) -> LLMRequest:
        """The request of the next step: it fits into the model, whatever the tools said."""
        prompt = turn.prompt
        assert prompt is not None
        schemas = tools.schemas if tools is not None else ()
        wanted = structured.wanted(desk.agent, turn.ask.response_format)
        if not is_refused and not turn.entries and not has_steps(prompt.messages):
            request = request_of(desk, prompt)
            return replace(request, tools=schemas, response_format=wanted) if schemas or wanted else request
        sent = [*schemas, wanted] if wanted is not None else schemas
        fitted = await self._fit(desk, turn, prompt, sent, is_refused=is_refused)
        if not fitted.is_possible:
            raise LLMError(
                "The request does not fit into the model, whatever is left out of it: the last message, the newest "
                "results or the tools alone are too long."
            )
        messages = [message.encoded for message in fitted.entries]
        return LLMRequest(messages, desk.session_id, tools=schemas, response_format=wanted)

    async def _fit(
        self, desk: Desk, turn: OpenTurn, prompt: Prompt, schemas: Sequence[bytes], *, is_refused: bool
    ) -> Fitted:
        """`schemas`: what is sent beside the messages, and takes room as well."""
        llm = desk.agent.llm
        context = llm.context
        limit = request_limit(context.known, answer_tokens=context.answer_tokens)
        history, goal = prompt.messages[:-1], prompt.messages[-1:]
        said = [*goal, *turn.entries]

        def fit_them() -> Fitted:
            entries = [*prompt.entries, *turn.entries]
            taken = self._tokens_of(llm, schemas)
            most = limit
            if is_refused:  # it counts otherwise than we do
                most = min(limit, int(REFUSED_SHARE * (taken + sum([one.count(llm.count_tokens) for one in entries]))))
            return fit(
                prompt.system,
                history,
                said,
                limit_tokens=most,
                count_tokens=llm.count_tokens,
                tools_tokens=taken,
                cleared=desk.cleared,
            )

        size = sum([len(one.encoded) for one in [*prompt.entries, *turn.entries] if one.tokens is None])
        fitted = await counted(fit_them, size=size + sum(map(len, schemas)))
        desk.cleared = fitted.cleared
        return fitted

    def _tokens_of(self, llm: LLM, schemas: Sequence[bytes]) -> int:
        """What the tools take in each request; counted once."""
        key = (llm.name, tuple(schemas))
        if key not in self._tools_tokens:
            if len(self._tools_tokens) >= MOST_COUNTED:
                self._tools_tokens.clear()
            self._tools_tokens[key] = sum([llm.count_tokens(schema.decode()) for schema in schemas])
        return self._tools_tokens[key]

    async def _count(self, desk: Desk, turn: OpenTurn, end: StreamEnd) -> None:
        assert turn.prompt is not None
        turn.used = step.added(turn.used, end.usage or await step.count_usage(desk, turn.prompt, turn.entries))
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
        found = await desk.session_log.database.read(query)
        turn.read(*[message.trust for message in found])
        return as_entries([message for message in found if message.status != structured.REPLACED])

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
