"""CreatedAgents: agents that clients create over the API: stored, served beside those of the configuration, deleted.

Each belongs to a principal and is served under its id. No dialect is known here: a door says what the entry of
`agents:` would be, and gets back what it had given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson
from pydantic import ValidationError

from app.agents import Agent, Roster
from app.config.agent import AgentConfig
from app.domain.created_agent import CreatedAgent
from app.domain.errors import InvalidRequest, QuotaExceeded, Unavailable, agent_not_found
from app.domain.ids import NewId
from app.domain.principal import Principal
from app.domain.session import SessionStatus
from app.events.live import LiveSessions
from app.sessions.termination import Terminations
from app.storage import agents, memories
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.memories import Owned, Removed

log = logging.getLogger(__name__)

Build = Callable[[str, AgentConfig], Agent]
AT_ONCE = 100
"""Sessions of a deleted agent that are terminated at the same time."""


class OtherServers(Protocol):
    """The other servers of this service, which keep the created agents in memory, too."""

    async def agent_changed(self, agent_id: str) -> None:
        """Return when all have done `CreatedAgents.read_again`. Raises Unavailable: not all have yet; they will."""
        ...

    async def agent_ends(self, agent_id: str) -> None:
        """Return when all have done `CreatedAgents.retire`. Raises Unavailable."""
        ...


class NoSuchLLM(LookupError):
    """The entry of `llms` that an agent names is not in the configuration."""


class CreatedAgents:
    """Keeps them in memory and in the database, and the roster up to date."""

    def __init__(
        self,
        database: Database,
        roster: Roster,
        live: LiveSessions,
        terminations: Terminations,
        *,
        build: Build,
        on_deleted: Callable[[str, Removed], None],
        on_gone: Callable[[str], None],
        new_id: NewId,
        clock_ms: Callable[[], int],
    ) -> None:
        """`build` raises NoSuchLLM. `on_deleted` is told the id of an agent and which memories went with it.

        `on_gone` is told the id of an agent that is not served any more, whoever deleted it.
        """
        self._database = database
        self._roster = roster
        self._live = live
        self._terminations = terminations
        self._build = build
        self._on_deleted = on_deleted
        self._on_gone = on_gone
        self.others: OtherServers | None = None
        """Set where several servers are one service."""
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._created: dict[str, CreatedAgent] = {}

    # -- serving --------------------------------------------------------------------------------

    async def load(self) -> None:
        """After a start, before the turns of the process before are recovered: serve what is stored."""
        self._created = {created.agent_id: created for created in await self._database.read(agents.stored)}
        self.build_again()

    def build_again(self) -> None:
        """Models may have changed. An agent that cannot be built is not served, and the log says why."""
        for created in self._created.values():
            self._serve(created)

    def _serve(self, created: CreatedAgent) -> None:
        try:
            self._roster.add(self._alive(created))
        except (NoSuchLLM, ValidationError) as error:
            self._roster.remove(created.agent_id)
            log.warning("agent %s (%s) is not served: %s", created.agent_id, created.name, error)

    async def read_again(self, agent_id: str) -> None:
        """Another server has created, changed or deleted the agent. Raises Unavailable."""
        created = await self._database.read(partial(agents.find, agent_id=agent_id))
        if created is None:
            if self._created.pop(agent_id, None) is not None:
                self._roster.remove(agent_id)
                self._on_gone(agent_id)
            return
        self._created[agent_id] = created
        self._serve(created)

    async def retire(self, agent_id: str) -> None:
        """Another server deletes the agent: begin no session of it, and end those that only this server has."""
        self._roster.remove(agent_id)
        await self._terminate_ephemeral(agent_id)

    def _alive(self, created: CreatedAgent) -> Agent:
        entry = AgentConfig.model_validate(orjson.loads(created.entry))
        return replace(self._build(created.agent_id, entry), owner=created.principal)

    # -- finding --------------------------------------------------------------------------------

    def get(self, caller: Principal, agent_id: str) -> CreatedAgent:
        """Raises NotFound (`agent_not_found`): unknown, or another principal's; the message is the same."""
        created = self._created.get(agent_id)
        if created is None or created.principal != caller.id:
            raise agent_not_found(agent_id)
        return created

    def list(self, caller: Principal) -> list[CreatedAgent]:
        """The caller's, oldest first."""
        return [created for created in self._created.values() if created.principal == caller.id]

    # -- changing -------------------------------------------------------------------------------

    async def create(
        self, caller: Principal, entry: Mapping[str, Any], given: Mapping[str, Any], *, most: int
    ) -> CreatedAgent:
        """Store and serve an agent. `most`: how many a principal may have.

        Raises:
            InvalidRequest: the entry is not one of `agents:`.
            QuotaExceeded, Unavailable: nothing was stored.
        """
        if len(self.list(caller)) >= most:
            raise QuotaExceeded(f"You have {most} agents, the most allowed; delete one.")
        now = self._clock_ms()
        created = self._made(CreatedAgent(self._new_id("agent"), caller.id, "", "", "", now, now), entry, given)
        alive = self._alive(created)
        unit = UnitOfWork("")
        agents.add(unit, created)
        self._created[created.agent_id] = created  # counts at once, so that many at once stay below `most`
        try:
            await self._submit(unit)
        except BaseException:
            del self._created[created.agent_id]
            raise
        self._roster.add(alive)
        await self._tell(created.agent_id)
        return created

    async def update(
        self, caller: Principal, agent_id: str, entry: Mapping[str, Any], given: Mapping[str, Any]
    ) -> CreatedAgent:
        """Put another definition in the place of the agent's. Running turns end with the one they began with.

        Raises:
            NotFound, InvalidRequest, Unavailable: nothing was stored.
        """
        created = self._made(replace(self.get(caller, agent_id), updated_ms=self._clock_ms()), entry, given)
        alive = self._alive(created)
        unit = UnitOfWork("")
        agents.add_change(unit, created)
        await self._submit(unit)
        self._created[agent_id] = created
        self._roster.add(alive)
        await self._tell(agent_id)
        return created

    async def delete(self, caller: Principal, agent_id: str) -> None:
        """Stop serving the agent, terminate all its sessions, and delete what was remembered of them.

        Raises:
            NotFound.
            Unavailable: the database cannot write; the agent is still there.
        """
        created = self.get(caller, agent_id)
        self._roster.remove(agent_id)  # first: no session may begin while the others are terminated
        unit = UnitOfWork("")
        removed = memories.delete(unit, Owned(agent_id, created.principal))
        agents.add_removal(unit, agent_id)
        try:
            if self.others is not None:
                await self.others.agent_ends(agent_id)
            await self._terminate_sessions(agent_id)
            await self._submit(unit)
        except Unavailable:
            self.build_again()
            await self._tell(agent_id)
            raise
        self._created.pop(agent_id, None)
        self._on_gone(agent_id)
        self._on_deleted(agent_id, removed)
        await self._tell(agent_id)

    def _made(self, created: CreatedAgent, entry: Mapping[str, Any], given: Mapping[str, Any]) -> CreatedAgent:
        try:
            config = AgentConfig.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidRequest(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return replace(
            created, name=config.name, entry=orjson.dumps(entry).decode(), given=orjson.dumps(given).decode()
        )

    async def _tell(self, agent_id: str) -> None:
        if self.others is not None:
            await self.others.agent_changed(agent_id)

    async def _terminate_ephemeral(self, agent_id: str) -> None:
        for session_log in self._live.all():
            if session_log.session.agent == agent_id and session_log.session.ephemeral:
                await self._terminate(session_log.session.session_id)

    async def _terminate_sessions(self, agent_id: str) -> None:
        """Every session of the agent, whoever's, warm or stored."""
        find = partial(agents.sessions_of, agent_id=agent_id, limit=AT_ONCE)
        await self._terminate_ephemeral(agent_id)
        while ids := await self._database.read(find):
            await asyncio.gather(*[self._terminate(session_id) for session_id in ids])

    async def _terminate(self, session_id: str) -> None:
        session_log = await self._live.open(session_id)
        if session_log is None:
            return
        if session_log.over is SessionStatus.TERMINATED:
            await self._terminations.confirm(session_log)
        else:
            await self._terminations.terminate(session_log, forget_all=True)

    async def _submit(self, unit: UnitOfWork) -> None:
        try:
            await asyncio.shield(self._database.submit(unit))
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"The agent could not be stored: {error}") from error
