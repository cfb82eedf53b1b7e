"""Budgets: what a turn and its session may use. At 80 % readers are told; at 100 % the turn concludes, asks or ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from app.domain.event import BudgetReached
from app.domain.turn import TurnState
from app.llm.base import LLMStopped
from app.memory.working import entry
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.step import added, ensure_room
from app.turns.stop import stop

WARN_AT = 0.8
CONCLUDE = "[You have reached the limit of this turn ({budget}). Call no more tools: conclude now with what you have.]"


class Verdict(Enum):
    """What the budgets say of the next step."""

    FREE = "free"
    LAST = "last"
    """It is the last one, without tools; the model has been told."""
    ASK = "ask"
    """A person has to say whether the turn goes on: `Budgets.exceeded` is why."""


@dataclass(frozen=True, slots=True)
class SessionUse:
    """What the turns of a session before this one have used."""

    steps: int = 0
    calls: int = 0


class Budgets:
    """The limits of one turn and of its session: `reasoning.max_iterations`, and the agent's `limits`."""

    def __init__(self, desk: Desk, turn: OpenTurn, use: SessionUse) -> None:
        self._desk = desk
        self._turn = turn
        self._use = use
        self._warned: set[str] = set()
        self.exceeded: tuple[str, float, float] = ("", 0.0, 0.0)
        """The budget that is used up, how much was used, and its limit."""

    async def check(self) -> Verdict:
        """Readers are told at 80 and at 100 %.

        Raises:
            LLMStopped: the turn ends here (`on_limit: stop`).
        """
        for budget, used, limit in self._figures():
            if used >= limit:
                self.exceeded = (budget, used, limit)
                return await self._exceeded(budget, used, limit)
            if used >= WARN_AT * limit and budget not in self._warned and limit > 1:
                self._warned.add(budget)
                await self._tell(budget, used, limit, "warn")
        return Verdict.FREE

    async def _exceeded(self, budget: str, used: float, limit: float) -> Verdict:
        action = self._desk.agent.config.reasoning.on_limit
        if budget == "steps" and self._is_at_max_iterations():
            action = "land"
        if action == "ask" and budget in self._turn.declined:
            action = "land"
        await self._tell(budget, used, limit, action)
        if action == "stop":
            stop(self._turn, TurnState.CANCELLED, f"limit_{budget}")
            raise LLMStopped
        if action == "ask":
            return Verdict.ASK
        self._turn.entries.append(entry("user", CONCLUDE.format(budget=budget)))
        return Verdict.LAST

    def _is_at_max_iterations(self) -> bool:
        most = self._desk.agent.config.reasoning.max_iterations
        return most > 1 and self._turn.step >= most - 1

    def _figures(self) -> Iterator[tuple[str, float, float]]:
        """Each budget that has a limit, what was used of it, and the limit with what people have added to it."""
        turn, config = self._turn, self._desk.agent.config
        most = config.reasoning.max_iterations
        if most > 1:  # the last of the steps is the one without tools
            yield "steps", turn.step, most - 1
        of_turn = self._used_by_turn()
        for prefix, limits, used in (
            ("", config.limits, of_turn),
            ("session_", config.limits.session, self._used_by_session(of_turn)),
        ):
            for name, amount in used.items():
                limit = getattr(limits, name)
                limit = limit.total_seconds() if isinstance(limit, timedelta) else limit
                if limit is not None:
                    yield prefix + name, amount, limit * (1 + turn.extended[prefix + name])

    def _used_by_turn(self) -> dict[str, float]:
        turn = self._turn
        used = added(turn.used, turn.below)
        prompt, completion = (used.prompt_tokens, used.completion_tokens) if used is not None else (0, 0)
        return {
            "steps": turn.step,
            "calls": turn.calls,
            "tokens": prompt + completion,
            "cost": self._cost(prompt, completion),
            "seconds": time.monotonic() - turn.started_clock - turn.waited_seconds,
        }

    def _used_by_session(self, of_turn: dict[str, float]) -> dict[str, float]:
        session = self._desk.session_log.session
        prompt, completion = session.prompt_tokens, session.completion_tokens
        return {
            "steps": of_turn["steps"] + self._use.steps,
            "calls": of_turn["calls"] + self._use.calls,
            "tokens": of_turn["tokens"] + prompt + completion,
            "cost": of_turn["cost"] + self._cost(prompt, completion),
        }

    def _cost(self, prompt: int, completion: int) -> float:
        price = self._desk.agent.price
        return (prompt * price.prompt + completion * price.completion) / 1e6 if price is not None else 0.0

    async def _tell(self, budget: str, used: float, limit: float, action: str) -> None:
        session_log = self._desk.session_log
        await ensure_room(session_log, 1)
        event = BudgetReached(self._turn.turn_id, budget, round(used, 6), limit, action)
        self._turn.shown.append(session_log.show(event))
