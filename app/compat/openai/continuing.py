"""Where the turn of a response belongs: a new session, a named one, or the one of the response before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.agents import Agent
from app.compat.openai.chat import agent_of
from app.compat.openai.errors import invalid
from app.compat.openai.located import find_conversation, find_response
from app.conversation.conversation import Following, Sending
from app.domain.errors import Conflict
from app.domain.principal import Principal
from app.domain.turn import Turn
from app.doors.sessions import check_metadata
from app.events.log import SessionLog
from app.runtime import Runtime
from app.sessions.draft import Draft, Seed
from app.turns.open_turn import OpenTurn


class Continuing:
    """One request. `model`: the agent that it names, if it names one."""

    def __init__(
        self, runtime: Runtime, principal: Principal, model: str | None, metadata: dict[str, Any] | None
    ) -> None:
        check_metadata(runtime, metadata)
        self._runtime = runtime
        self._principal = principal
        self._model = model
        self._metadata = metadata

    async def anew(self, sending: Sending, *, is_stored: bool) -> Following:
        """A session of its own; in memory if the client wants nothing stored."""
        if self._model is None:
            raise invalid("model", "names the agent")
        agent = agent_of(self._runtime, self._model, self._principal)
        if not is_stored:
            return await self._send(agent, None, sending)
        self._runtime.conversation.check_length(sending.text or "")
        draft = Draft(metadata=self._metadata, seeds=sending.seeds)
        session_log, _ = await self._runtime.sessions.create(self._principal, agent.name, draft=draft)
        return await self._send(agent, session_log, replace(sending, seeds=()))

    async def conversation(self, session_id: str, sending: Sending) -> Following:
        """The session that was named."""
        return await self._append(await find_conversation(self._runtime, self._principal, session_id), sending)

    async def after(self, response_id: str, sending: Sending) -> Following:
        """The session of a response, if nothing was said in it since; else a fork that ends with the response."""
        session_log, turn = await find_response(self._runtime, self._principal, response_id)
        if await self._is_newest(session_log, turn):
            return await self._append(session_log, sending)
        if not isinstance(turn, Turn) or turn.last_seq is None:
            raise Conflict("Other messages wait behind this response; wait for its end.", reason="session_busy")
        agent = self._agent(session_log)
        forked = await self._runtime.copies.branch(
            self._principal, session_log, upto=turn.last_seq, seeds=sending.seeds
        )
        return await self._send(agent, forked, replace(sending, seeds=()))

    async def _is_newest(self, session_log: SessionLog, turn: OpenTurn | Turn) -> bool:
        open_turns = self._runtime.history.open_turns(session_log)
        if open_turns:
            return open_turns[-1].turn_id == turn.turn_id
        newest = await self._runtime.history.messages(session_log, before=2**62, limit=1)
        last_seq = turn.last_seq if isinstance(turn, Turn) else None
        return last_seq is None or not newest or newest[0].seq <= last_seq

    async def _append(self, session_log: SessionLog, sending: Sending) -> Following:
        agent = self._agent(session_log)
        self._runtime.admission.check_accepts(session_log)
        self._runtime.conversation.check_length(sending.text or "")
        for seed in sending.seeds:
            await self._add(session_log, agent, seed)
        return await self._send(agent, session_log, replace(sending, seeds=()))

    async def _add(self, session_log: SessionLog, agent: Agent, seed: Seed) -> None:
        if seed.role == "tool" or seed.tool_calls:
            raise invalid("input", "results of tools cannot be added to a conversation: the agent runs its own tools")
        await self._runtime.admission.add(session_log, agent, seed.role, seed.content)

    def _agent(self, session_log: SessionLog) -> Agent:
        name = session_log.session.agent
        if self._model is not None and self._model != name:
            agent_of(self._runtime, self._model, self._principal)
            raise invalid("model", f"this conversation is with {name!r}; name that, or leave model out")
        return self._runtime.roster.get(name, self._principal)

    async def _send(self, agent: Agent, session_log: SessionLog | None, sending: Sending) -> Following:
        return await self._runtime.conversation.send(self._principal, agent.name, session_log, sending)
