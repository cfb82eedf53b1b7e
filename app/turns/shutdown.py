"""Shutdown of the turns: nothing more begins, what runs has a grace, the rest is marked interrupted or handed over."""

from __future__ import annotations

import asyncio

from app.domain.turn import TurnState
from app.turns.runner import Runner
from app.turns.stop import stop


class Shutdown:
    """Ends the turns of this process. `begin`, then `finish`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def begin(self) -> None:
        """Accept nothing more and begin nothing more; what runs may go on, without a grace for readers."""
        runner = self._runner
        runner.is_stopping = runner.grace.is_off = True
        for turn in runner.running:
            runner.grace.end(turn)

    async def abandon(self) -> None:
        """Another server has taken over what runs here: stop the models; write nothing and tell nobody an end."""
        runner = self._runner
        for turn in list(runner.running):
            turn.is_handed_over = True
            stop(turn, TurnState.INTERRUPTED, "shutdown")
        await runner.tasks.wait(seconds=0.5)
        await runner.tasks.cancel()

    async def finish(self, *, grace_seconds: float) -> None:
        """Wait for the running turns, then stop the rest, and wait until that is written.

        They are `interrupted`, or left to the next process where their agent has `on_crash: resume`.
        """
        runner = self._runner
        running = [turn.done for turn in runner.running if not turn.is_waiting]
        if running:
            await asyncio.wait(running, timeout=grace_seconds)
        for _ in range(10):  # a queued turn that was just starting joins late
            for turn in list(runner.running):
                if turn.stop is None:
                    turn.is_handed_over = turn.resumes or turn.is_waiting
                stop(turn, TurnState.INTERRUPTED, "shutdown")
            await runner.tasks.wait(seconds=0.5)
        await runner.tasks.cancel()
