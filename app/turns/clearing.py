"""Clearing: what the turns of a session know of its history is dropped, because some of it was forgotten."""

from __future__ import annotations

from collections.abc import Collection

from app.domain.event import EventKind
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.storage.recalled import without
from app.turns.desk import Desk, OpenTurn
from app.turns.final import FinalMemories
from app.turns.memory import TurnMemory
from app.turns.runner import Runner
from app.turns.summaries import Summaries

WAIT_SECONDS = 10.0


async def clear(log: SessionLog, turns: Runner, memory: TurnMemory, summaries: Summaries, final: FinalMemories) -> None:
    """End every turn of the session and whatever goes on beside them; the next one reads its history anew."""
    await turns.cancel(log, everything=True, wait_seconds=WAIT_SECONDS)
    desk: Desk | None = log.desk
    if desk is not None:
        await summaries.end(desk)
    await final.end(log.session.session_id)
    await memory.settled()
    if desk is None or log.is_busy:
        return
    log.desk = log.on_readers = log.on_terminate = None


def unlearn(live: LiveSessions, sources: Collection[str]) -> None:
    """Running turns do not record what they recalled of these memories and sessions."""
    for log in live.all():
        desk: Desk | None = log.desk
        if desk is not None and desk.open is not None and desk.open.memory is not None:
            _unlearn(log, desk.open, sources)


def _unlearn(log: SessionLog, turn: OpenTurn, sources: Collection[str]) -> None:
    left = without(turn.memory or {}, sources)
    if left == turn.memory:
        return
    turn.memory = left
    gone = [run for run in turn.shown if run.kind in (EventKind.MEMORY, EventKind.DEBUG)]
    turn.shown = [run for run in turn.shown if run not in gone]
    log.forget_tail()
    for run in gone:
        run.wire = b""  # on the tape it counts as given up
