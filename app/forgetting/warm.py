"""What warm sessions and their running turns hold in memory of texts that are to be forgotten."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from app.domain.event import EventKind
from app.events.change import Change
from app.events.elsewhere import at_owner
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.storage.recalled import without
from app.storage.redaction import Found
from app.turns.desk import desk_of
from app.turns.final import FinalMemories
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn
from app.turns.stopping import Stopping
from app.turns.summaries import Summaries

WAIT_SECONDS = 10.0
"""How long to wait for turns of a session to end."""


class WarmCopies:
    """Ends turns that know a text, and removes it from the state of those that go on."""

    def __init__(
        self, live: LiveSessions, stopping: Stopping, memory: TurnMemory, summaries: Summaries, final: FinalMemories
    ) -> None:
        self._live = live
        self._stopping = stopping
        self._memory = memory
        self._summaries = summaries
        self._final = final

    @at_owner
    async def end_turns(self, session_log: SessionLog) -> None:
        """End every turn of the session and the work in the background; the next turn reads its history again."""
        await self._stopping.cancel(session_log, everything=True, wait_seconds=WAIT_SECONDS)
        desk = desk_of(session_log)
        if desk is not None:
            await self._summaries.end(desk)
        await self._final.end(session_log.session.session_id)
        await self._memory.settled()
        if desk is None or session_log.is_busy:
            return
        session_log.desk = None

    def remove_recalled(self, sources: Collection[str]) -> None:
        """Have running turns drop what they recalled of these memories and sessions, so that they do not store it."""
        for session_log in self._live.all():
            desk = desk_of(session_log)
            if desk is not None and desk.open is not None and desk.open.memory is not None:
                _remove_recalled(session_log, desk.open, sources)


def _remove_recalled(session_log: SessionLog, turn: OpenTurn, sources: Collection[str]) -> None:
    left = without(turn.memory or {}, sources)
    if left == turn.memory:
        return
    turn.memory = left
    gone = [run for run in turn.shown if run.kind in (EventKind.MEMORY, EventKind.DEBUG)]
    turn.shown = [run for run in turn.shown if run not in gone]
    session_log.drop_tail()
    for run in gone:
        run.is_void = True  # the tape leaves it out


def redact_session(change: Change, session_log: SessionLog, found: Found, last_seq: int) -> None:
    """Have the warm copy of a redacted session agree with its rows as soon as they are committed."""
    if "title" in found.description:
        change.set(title=found.description["title"])
    if (metadata := found.description.get("metadata")) is not None:
        change.set(metadata=orjson.loads(metadata))
    if found.in_history:
        change.set(floor_seq=last_seq)
        change.on_commit(session_log.drop_tail)
