"""Recovery: before the server is ready, every open turn of the process before gets its end.

A process is alone on its data, so whatever runs in the database does not run anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from app.agents import Agent, Roster
from app.domain.act import Act, ActState
from app.domain.errors import HectorError, Unavailable
from app.domain.event import Snapshot, TurnFinished
from app.domain.message import Message
from app.domain.turn import Outcome, Turn, TurnState, Usage
from app.events.change import Change
from app.events.live import LiveSessions
from app.events.log import TAIL_OF_RESTART, SessionLog
from app.storage import acts, events, messages, turns
from app.storage.connection import Connection
from app.storage.engine.unit_of_work import Unwritable
from app.turns.admission import Admission
from app.turns.checkpoint import outcome_message
from app.turns.closing import close_act, ended_by_turn
from app.turns.finish import add_usage
from app.turns.prompt import estimate_usage

log = logging.getLogger(__name__)


class Recovery:
    """Used once, before the server is ready."""

    def __init__(
        self, live: LiveSessions, admission: Admission, roster: Roster, *, clock_ms: Callable[[], int]
    ) -> None:
        self._live = live
        self._admission = admission
        self._roster = roster
        self._clock_ms = clock_ms

    async def recover(self) -> int:
        """Mark running and waiting turns `interrupted`, keep their text, and adopt the queued ones.

        Returns how many were interrupted. Readers may have seen numbers of the reserved block, and text that died with
        the process: the events written here lie above all text of that block and begin with a snapshot of what was
        kept; what comes after them lies above the block.

        Raises:
            Unavailable: the database did not answer.
        """
        interrupted = 0
        for turn in await self._live.durable.database.read(turns.unfinished):
            session_log = await self._live.open(turn.session_id)
            if session_log is None:
                continue
            if turn.state is TurnState.QUEUED:
                self._adopt(session_log, turn)
            elif not await self._take_over(session_log, turn) and await self._interrupt(session_log, turn):
                interrupted += 1
        return interrupted

    async def recover_session(self, session_log: SessionLog) -> None:
        """The same for one session whose server died, or left; what can go on does at once."""
        session_id = session_log.session.session_id
        for turn in await session_log.database.read(partial(turns.unfinished_of, session_id=session_id)):
            if turn.state is TurnState.QUEUED:
                self._adopt(session_log, turn)
            elif not await self._take_over(session_log, turn):
                await self._interrupt(session_log, turn)
        self._admission.resume(session_log)

    async def _take_over(self, session_log: SessionLog, turn: Turn) -> bool:
        """Whether the turn goes on: it waits for somebody, or its agent has `on_crash: resume`."""
        agent = self._roster.find(session_log.session.agent)
        if agent is None:
            return False
        is_resumed = turn.state is TurnState.WAITING or agent.config.reasoning.on_crash == "resume"
        if not is_resumed and not await self._waits_below(session_log, turn):
            return False
        try:
            await self._adopt_open(session_log, agent, turn)
        except Exception as error:  # the server must come up; the turn is interrupted then
            log.exception("turn %s cannot go on: %s", turn.turn_id, error)
            return False
        return True

    async def _waits_below(self, session_log: SessionLog, turn: Turn) -> bool:
        """Whether all that is left of the turn's step are calls of agents, and one of those waits for somebody."""

        def find(connection: Connection) -> bool:
            cut = [act for act in acts.of_turn(connection, turn.session_id, turn.turn_id) if not act.is_checkpointed]
            below = [str(act.kept["session_id"]) for act in cut if act.kept is not None and "session_id" in act.kept]
            is_alone = len(below) == len([act for act in cut if not act.state.is_over])
            return bool(below) and is_alone and turns.some_wait(connection, acts.family(connection, below))

        return await session_log.database.read(find)

    async def _adopt_open(self, session_log: SessionLog, agent: Agent, stored: Turn) -> None:
        read, session_id = session_log.database.read, stored.session_id
        found = await read(partial(acts.of_turn, session_id=session_id, turn_id=stored.turn_id))
        asked = await read(partial(messages.find, session_id=session_id, message_id=stored.user_message_id))
        if asked is None:
            raise LookupError("its message is not there")
        if stored.state is TurnState.RUNNING:
            await self._take_back(session_log, stored)
        turn = self._admission.adopt_open(session_log, agent, stored, found, asked=asked)
        if stored.state is TurnState.RUNNING:
            turn.doubtful = [act for act in turn.acts if act.state is ActState.STARTED]

    async def _take_back(self, session_log: SessionLog, turn: Turn) -> None:
        """What was said since the last step is said again: the model is asked anew."""
        end = await session_log.database.read(
            partial(messages.end_of_steps, session_id=turn.session_id, turn_id=turn.turn_id)
        )
        session_log.skip_to_tail(TAIL_OF_RESTART)
        async with Change(session_log) as change:
            change.fact(Snapshot(turn.turn_id, turn.message_id, ""))
            session_log.skip_reserved()
            events.add_drop_runs(change.unit, from_seq=max(end, turn.first_seq) + 1)

    async def _cut_step(self, session_log: SessionLog, turn: Turn) -> list[Act]:
        """The acts whose outcome the history lacks."""
        read = session_log.database.read
        found = await read(partial(acts.of_turn, session_id=turn.session_id, turn_id=turn.turn_id))
        return [act for act in found if not act.is_checkpointed]

    def _close(self, change: Change, turn: Turn, cut: Sequence[Act], now_ms: int) -> None:
        """Give every act an end, and every call in the history an outcome."""
        for place, before in enumerate(cut):
            after = close_act(before, now_ms)
            acts.add_change(change.unit, before, replace(after, is_checkpointed=True))
            if before is not after:
                change.fact(ended_by_turn(after))
            message_id = f"{turn.message_id}_{place}"
            messages.add(change.unit, outcome_message(after, message_id, change.number(), now_ms))
        change.count(messages=len(cut))

    async def _interrupt(self, session_log: SessionLog, turn: Turn) -> bool:
        """Whether the end of the turn is stored: with its text, or without where that fails by our fault."""
        for has_text in (True, False):
            try:
                await self._end(session_log, turn, has_text=has_text)
            except Exception as error:  # the server must come up
                log.log(
                    logging.WARNING if isinstance(error, HectorError) else logging.ERROR,
                    "turn %s could not be marked interrupted: %s",
                    turn.turn_id,
                    error,
                    exc_info=None if isinstance(error, HectorError) else error,
                )
                if isinstance(error, Unavailable) and not isinstance(error.__cause__, Unwritable):
                    break
            else:
                return True
        agent = self._roster.find(session_log.session.agent)
        if agent is not None:
            self._admission.leave_unclosed(session_log, agent, turn.turn_id)
        return False

    def _adopt(self, session_log: SessionLog, turn: Turn) -> None:
        agent = self._roster.find(session_log.session.agent)
        if agent is None:
            log.warning("turn %s waits: its agent is not configured any more", turn.turn_id)
            return
        self._admission.adopt(session_log, agent, turn)

    async def _end(self, session_log: SessionLog, turn: Turn, *, has_text: bool) -> None:
        agent, now_ms = self._roster.find(session_log.session.agent), self._clock_ms()
        text = await _text_of(session_log, turn) if has_text else ""
        message_id = turn.message_id if text else None
        # Without text nobody knows whether the model was asked at all.
        usage = await _estimate(session_log, agent, turn, text) if text and agent is not None else None
        outcome = Outcome(turn.turn_id, TurnState.INTERRUPTED, "crash", text, message_id, usage, finished_ms=now_ms)
        # Above all text, and below an end that readers were told and that was not stored.
        session_log.skip_to_tail(TAIL_OF_RESTART)
        cut = await self._cut_step(session_log, turn)
        trust = await session_log.database.read(partial(messages.least_trust, session_id=turn.session_id))
        async with Change(session_log) as change:
            change.fact(Snapshot(turn.turn_id, turn.message_id, text))
            self._close(change, turn, cut, now_ms)
            seq = change.fact(TurnFinished(turn.turn_id, outcome.state, message_id, outcome.reason, usage)).first
            session_log.skip_reserved()
            turns.add_finish(change.unit, outcome, last=seq, now=now_ms)
            change.set(active_ms=now_ms)
            change.count(messages=1 if text else 0, usage=usage)
            if text:
                messages.add(change.unit, replace(_message(turn, outcome, seq=seq), trust=trust))
            if usage is not None and agent is not None:
                add_usage(change.unit, session_log.session, agent.llm, usage, now_ms)


async def _estimate(session_log: SessionLog, agent: Agent, turn: Turn, text: str) -> Usage | None:
    try:
        return await estimate_usage(session_log, agent, turn, text)
    except Exception:  # a turn must end, counted or not
        log.exception("the tokens of turn %s could not be estimated", turn.turn_id)
        return None


async def _text_of(session_log: SessionLog, turn: Turn) -> str:
    """What it said since its last step."""
    upto = max(session_log.reserved_seq, session_log.last_seq)

    def find(connection: Connection) -> str:
        end = messages.end_of_steps(connection, turn.session_id, turn.turn_id)
        after = max(end, turn.first_seq - 1)
        return events.text_of_turn(connection, turn.session_id, turn.turn_id, after=after, upto=upto)

    return await session_log.database.read(find)


def _message(turn: Turn, outcome: Outcome, *, seq: int) -> Message:
    return Message(
        message_id=turn.message_id,
        session_id=turn.session_id,
        turn_id=turn.turn_id,
        role="assistant",
        content=outcome.text,
        status=outcome.state.value,
        seq=seq,
        created_ms=outcome.finished_ms or 0,
    )
