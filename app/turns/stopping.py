"""Stopping: cancel turns of a session, or stop all of them at once because the session is terminated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from app.domain.turn import Outcome, TurnState
from app.events.elsewhere import at_owner
from app.events.log import SessionLog, StopOrder
from app.observability.tasks import Tasks
from app.turns.desk import Desk, desk_of
from app.turns.open_turn import OpenTurn
from app.turns.runner import Runner
from app.turns.stop import stop
from app.turns.summaries import Summaries


class Stopping:
    """Acts for the desks of warm sessions when their readers change and when they are terminated."""

    def __init__(self, runner: Runner, summaries: Summaries, *, clock_ms: Callable[[], int]) -> None:
        self._runner = runner
        self._summaries = summaries
        self._clock_ms = clock_ms
        self._tasks = Tasks()

    async def cancel(
        self,
        session_log: SessionLog,
        *,
        turn_id: str | None = None,
        everything: bool = False,
        wait_seconds: float = 2.0,
    ) -> OpenTurn | None:
        """Cancel the running turn, the named one, or all; `None` when none was open.

        Returns when the turn is over, at the latest after `wait_seconds`. A turn that is over already
        is not an error: `None`.
        """
        desk = desk_of(session_log)
        if desk is None:
            return None
        elsewhere = session_log.elsewhere
        if elsewhere is not None:
            found = await self._cancel(session_log, turn_id=turn_id, everything=everything, wait_seconds=wait_seconds)
            return None if found is None else await elsewhere.turn(found)  # also when it was terminated meanwhile
        target = desk.open if turn_id is None else desk.find(turn_id)
        doomed = [turn for turn in desk.queue if everything or turn is target]
        for turn in doomed:  # all at once: none may begin while the end of another is being written
            desk.queue.remove(turn)
        desk.settle()
        if target is not None and target is desk.open:
            self._runner.stop(desk, target, TurnState.CANCELLED, "cancelled")
        ending = [
            self._tasks.start(
                self._runner.finish(desk, turn, TurnState.CANCELLED, "cancelled"), name=f"end of {turn.turn_id}"
            )
            for turn in doomed
        ]
        waited: list[asyncio.Future[Any]] = [*ending, *([target.done] if target is not None else [])]
        if waited:
            await asyncio.wait(waited, timeout=wait_seconds)
        return target

    @at_owner
    async def _cancel(
        self, session_log: SessionLog, *, turn_id: str | None, everything: bool, wait_seconds: float
    ) -> str | None:
        turn = await self.cancel(session_log, turn_id=turn_id, everything=everything, wait_seconds=wait_seconds)
        return None if turn is None else turn.turn_id

    def readers_changed(self, desk: Desk) -> None:
        self._runner.grace.watch(desk)

    def order_stop(self, desk: Desk) -> StopOrder:
        """The session is being terminated: stop everything now; the terminate writes the ends."""
        running = desk.open
        found: list[tuple[str, str | None]] = []
        self._summaries.stop(desk)
        if running is not None:
            tape = desk.session_log.tape
            has_text = tape is not None and any(tape.segments())
            found.append((running.turn_id, running.message_id if has_text else None))
            stop(running, TurnState.CANCELLED, "session_terminated")
        found += [(turn.turn_id, None) for turn in desk.queue]
        for turn in [*([running] if running else []), *desk.queue]:
            turn.settle(Outcome(turn.turn_id, TurnState.CANCELLED, "session_terminated"))
        desk.queue.clear()
        closed = self._watch_close(running) if running is not None and running.stream is not None else None
        return StopOrder(found, closed, lambda: running.dropped if running is not None else 0)

    def _watch_close(self, turn: OpenTurn) -> asyncio.Future[int]:
        async def closed() -> int:
            assert turn.stream is not None
            await turn.stream.closed()
            return self._clock_ms()

        return self._tasks.start(closed(), name=f"closing {turn.turn_id}")

    async def close(self) -> None:
        await self._tasks.cancel()
