"""Long-term memory as turns use it: a recall beside the preparation of each, what was said remembered at its end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from app.agents import Agent
from app.config.memory import LongTermConfig
from app.domain.errors import HectorError
from app.domain.memory import Owner, Scope
from app.domain.message import Message, Role, is_blank
from app.domain.principal import ANONYMOUS, is_name
from app.domain.session import Session
from app.events.change import Change
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.memory.longterm import LongTermMemory, Saying
from app.memory.scope import may_store
from app.observability.tasks import Tasks
from app.storage import messages, sessions
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.turns.desk import Desk, desk_of
from app.turns.open_turn import OpenTurn
from app.turns.recalling import SPARE, Recalling

log = logging.getLogger(__name__)

LONGEST_QUESTION = 2000
"""Characters of a message that memories are looked up by."""
PAGE = 200
"""Messages remembered together when a session catches up."""
CLOSE_SECONDS = 2.0


class TurnMemory:
    """Reads and writes long-term memory for the turns of agents that have one. Owns the tasks that catch up."""

    def __init__(self, memory: LongTermMemory, live: LiveSessions) -> None:
        self._memory = memory
        self._live = live
        self._tasks = Tasks()
        self._wanted: dict[str, int] = {}
        """Sessions that catch up, and to which number."""
        self._warned: set[str] = set()

    # -- before the model is asked ------------------------------------------------------------------------------

    def recall(self, desk: Desk, turn: OpenTurn) -> Recalling | None:
        """Begin to look up what fits the message; `None` for agents that recall nothing by themselves."""
        settings = desk.agent.config.memory.longterm
        if settings is None or not settings.auto_recall:
            return None
        session = desk.session_log.session
        owner, scope = owner_of(session), Scope(settings.storage_scope)
        self._warn_of_anonymous(desk.agent, session, scope)
        question = turn.text[:LONGEST_QUESTION]
        threshold = settings.similarity_threshold
        limit = settings.recall_limit + SPARE
        looking = asyncio.create_task(
            self._memory.recall(question, owner=owner, scope=scope, limit=limit, threshold=threshold, each_once=True),
            name=f"recall of {turn.turn_id}",
        )
        seconds = settings.recall_timeout.total_seconds()
        return Recalling(looking, owner, limit=settings.recall_limit, seconds=seconds)

    def _warn_of_anonymous(self, agent: Agent, session: Session, scope: Scope) -> None:
        if scope in (Scope.SESSION, Scope.ALL) or session.user_id != ANONYMOUS or agent.name in self._warned:
            return
        self._warned.add(agent.name)
        log.warning(
            "agent %s remembers for its users (storage_scope: %s), and this one is anonymous: what anonymous users say "
            "stays in their session; name them by user_id or X-User-Id, or give them keys",
            agent.name,
            scope.value,
        )

    async def look(self, desk: Desk, turn: OpenTurn) -> None:
        """Find out whether all that came before this turn is remembered. Raises Unavailable."""
        if desk.is_remembered is not None or writing(desk.agent, desk.session_log) is None:
            return
        session = desk.session_log.session
        if session.message_count <= 1:
            desk.is_remembered = True
            return
        desk.is_remembered = not await self._pending(desk.session_log, upto=turn.started_seq - 1, limit=1)

    # -- when the turn is over ----------------------------------------------------------------------------------

    def add(self, unit: UnitOfWork, desk: Desk, turn: OpenTurn, *, answer: str, now_ms: int) -> bool:
        """Have the unit that ends a turn remember it; false where that is left to `settle`.

        `answer`: what it said, if that is whole.
        """
        settings = writing(desk.agent, desk.session_log)
        if settings is None or not turn.started_seq:
            return False
        session, again = desk.session_log.session, turn.ask.again
        if again is not None and again.replaced_id is not None:
            self._memory.add_forgetting(unit, again.replaced_id)
        if settings.batch_size != 1 or not desk.is_remembered:
            return False
        question = _saying(session, "user", turn.text, turn.started_ms, turn.turn_id, turn.user_message_id)
        said = [replace(question, trust=turn.ask.trust)]
        if answer:
            answered = _saying(session, "assistant", answer, now_ms, turn.turn_id, turn.message_id)
            said.append(replace(answered, trust=turn.trust))
        self._memory.add(unit, owner_of(session), Scope(settings.storage_scope), said)
        return True

    def settle(self, desk: Desk, turn: OpenTurn, *, is_remembered: bool) -> None:
        """The end of a turn is written: do what its unit did not, in the background."""
        session_log, agent = desk.session_log, desk.agent
        settings = writing(agent, session_log)
        if settings is None or session_log.over is not None or not turn.is_stored:
            return
        if not is_remembered:
            self.catch_up(session_log, agent)
            return
        self._memory.wake()
        if settings.max_items is not None:
            self._tasks.start(
                self.trim(session_log.session, agent), name=f"trimming for {session_log.session.session_id}"
            )

    def catch_up(self, session_log: SessionLog, agent: Agent) -> None:
        """Remember what is left of a session's messages, in the background, if that makes a batch."""
        if writing(agent, session_log) is None:
            return
        session_id = session_log.session.session_id
        is_at_work = session_id in self._wanted
        self._wanted[session_id] = session_log.last_seq
        if not is_at_work:
            self._tasks.start(self._catch_up(session_log, agent), name=f"memories of {session_id}")

    async def _catch_up(self, session_log: SessionLog, agent: Agent) -> None:
        session_id = session_log.session.session_id
        try:
            is_done = False
            while not is_done:
                wanted = self._wanted[session_id]
                has_more = await self._remember_page(session_log, agent, wanted)
                is_done = not has_more and self._wanted[session_id] == wanted
        except HectorError as error:
            if session_log.over is None:
                log.warning("messages of session %s are not remembered yet: %s", session_id, error)
        finally:
            del self._wanted[session_id]
            if (desk := desk_of(session_log)) is not None:
                desk.is_remembered = None  # to be looked up
        self._memory.wake()
        await self.trim(session_log.session, agent)

    async def remember_rest(self, session_log: SessionLog, agent: Agent) -> None:
        """Remember what is left of the messages of a session that is over.

        Raises:
            HectorError: not all of it is.
        """
        while await self._remember_page(session_log, agent, session_log.last_seq, is_over=True):
            pass
        self._memory.wake()

    async def _remember_page(self, session_log: SessionLog, agent: Agent, upto: int, *, is_over: bool = False) -> bool:
        """Whether there may be more to do."""
        settings = writing(agent, session_log)
        if settings is None:
            return False
        batch = settings.batch_size
        found = await self._pending(session_log, upto=upto, limit=max(PAGE, 4 * batch))
        turns = sum([message.role == "user" for message in found])
        if not found or (not is_over and (batch == 0 or turns < batch)):
            return False
        session = session_log.session
        said = [
            replace(_saying(session, m.role, m.content, m.created_ms, m.turn_id, m.message_id), trust=m.trust)
            for m in found
            if m.role != "tool" and not is_blank(m.content) and (m.role == "user" or m.status == "completed")
        ]
        upto = found[-1].seq
        async with Change(session_log) as change:
            self._memory.add(change.unit, owner_of(session), Scope(settings.storage_scope), said)
            sessions.add_remembered(change.unit, upto=upto)
            change.set(remembered_seq=upto)
        return True

    async def _pending(self, session_log: SessionLog, *, upto: int, limit: int) -> list[Message]:
        session = session_log.session
        query = partial(
            messages.after, session_id=session.session_id, after=session.remembered_seq, upto=upto, limit=limit
        )
        return await self._live.durable.database.read(query)

    async def trim(self, session: Session, agent: Agent) -> None:
        """Keep no more than `max_items`."""
        settings = agent.config.memory.longterm
        if settings is None or settings.max_items is None:
            return
        try:
            await self._memory.trim(owner_of(session), Scope(settings.storage_scope), keep=settings.max_items)
        except (WriteFailed, WriteConflict) as error:
            log.warning("memories above max_items could not be removed: %s", error)

    async def settled(self) -> None:
        """Until nothing is being remembered in the background; for a moment, if that takes long."""
        await self._tasks.wait(seconds=CLOSE_SECONDS)

    async def close(self) -> None:
        await self.settled()
        await self._tasks.cancel()


def owner_of(session: Session) -> Owner:
    return Owner(session.agent, session.principal, session.user_id, session.session_id)


def writing(agent: Agent, session_log: SessionLog) -> LongTermConfig | None:
    """The settings of an agent that remembers messages of this session; `None` if it does not."""
    settings = agent.config.memory.longterm
    if settings is None or session_log.session.ephemeral:
        return None
    return settings if may_store(Scope(settings.storage_scope), "message") else None


def _saying(
    session: Session, role: Role, content: str, created_ms: int, turn_id: str | None, message_id: str
) -> Saying:
    speaker = session.user_id if role == "user" and is_name(session.user_id) else role
    return Saying(role, speaker, content, created_ms, turn_id=turn_id, message_id=message_id)
