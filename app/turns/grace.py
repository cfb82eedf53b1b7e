"""Grace: a running turn that nobody reads is cancelled after a while."""

from __future__ import annotations

import asyncio

from app.domain.turn import TurnState
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.stop import stop


class Grace:
    """Starts and ends the timers. `is_off` during a shutdown, which sends every reader away."""

    def __init__(self) -> None:
        self.is_off = False

    def watch(self, desk: Desk) -> None:
        """The turn has begun, or its number of readers has changed."""
        turn = desk.open
        if turn is None or turn.state is not TurnState.RUNNING or turn.grace_seconds is None or self.is_off:
            return
        if desk.session_log.readers:
            self.end(turn)
        elif turn.grace is None:
            loop = asyncio.get_running_loop()
            turn.grace = loop.call_later(turn.grace_seconds, self._run_out, desk, turn)

    def end(self, turn: OpenTurn) -> None:
        if turn.grace is not None:
            turn.grace.cancel()
            turn.grace = None

    def _run_out(self, desk: Desk, turn: OpenTurn) -> None:
        turn.grace = None
        if turn.is_waiting:  # for a person, who may take days
            self.watch(desk)
        elif not desk.session_log.readers and not self.is_off:
            stop(turn, TurnState.CANCELLED, "disconnected")
