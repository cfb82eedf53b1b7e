"""Budgets: what a turn may use. At 80 % readers are told; at 100 % the model is told to conclude, or the turn ends."""

from __future__ import annotations

import time

from app.domain.event import BudgetReached
from app.domain.turn import TurnState
from app.llm.base import LLMStopped
from app.memory.working import entry
from app.turns.acting import Acting
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.step import ensure_room
from app.turns.stop import stop

WARN_AT = 0.8
CONCLUDE = "[You have reached the limit of this turn ({budget}). Call no more tools: conclude now with what you have.]"


class Budgets:
    """The limits of one turn: `reasoning.max_iterations`, and the agent's `limits`."""

    def __init__(self, desk: Desk, turn: OpenTurn, acting: Acting) -> None:
        self._desk = desk
        self._turn = turn
        self._acting = acting
        self._warned: set[str] = set()

    async def check(self) -> bool:
        """Whether the next step is the last one; readers and the model are told so.

        Raises:
            LLMStopped: the turn ends here (`on_limit: stop`).
        """
        config = self._desk.agent.config
        for budget, (used, limit) in self._figures().items():
            if limit is None:
                continue
            if used >= limit:
                action = "stop" if config.reasoning.on_limit == "stop" and budget != "steps" else "land"
                await self._tell(budget, used, limit, action)
                if action == "stop":
                    stop(self._turn, TurnState.CANCELLED, f"limit_{budget}")
                    raise LLMStopped
                self._turn.entries.append(entry("user", CONCLUDE.format(budget=budget)))
                return True
            if used >= WARN_AT * limit and budget not in self._warned and limit > 1:
                self._warned.add(budget)
                await self._tell(budget, used, limit, "warn")
        return False

    def _figures(self) -> dict[str, tuple[float, float | None]]:
        turn, config = self._turn, self._desk.agent.config
        limits = config.limits
        tokens = turn.used.prompt_tokens + turn.used.completion_tokens if turn.used is not None else 0
        steps = min(limits.steps or config.reasoning.max_iterations, config.reasoning.max_iterations)
        seconds = limits.seconds.total_seconds() if limits.seconds is not None else None
        return {
            # The last of the steps is the one without tools.
            "steps": (turn.step, steps - 1 if steps > 1 else None),
            "calls": (turn.calls, limits.calls),
            "tokens": (tokens, limits.tokens),
            "seconds": (time.monotonic() - turn.started_clock, seconds),
        }

    async def _tell(self, budget: str, used: float, limit: float, action: str) -> None:
        session_log = self._desk.session_log
        await ensure_room(session_log, 1)
        event = BudgetReached(self._turn.turn_id, budget, round(used, 3), limit, action)
        self._turn.shown.append(session_log.show(event))
