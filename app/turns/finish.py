"""The end of a turn: answer, counters, numbers and terminal event become true together, then visible."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from app.domain.event import EventKind
from app.domain.message import Message
from app.domain.turn import TurnState, Usage
from app.events.live import Store
from app.events.run import Run
from app.events.tape import Segment
from app.memory.working import entry
from app.storage import events, messages, sessions, turns
from app.storage import usage as ledger
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.turns.desk import Desk, OpenTurn, Outcome
from app.turns.memory import TurnMemory
from app.turns.prompt import MARKS

log_ = logging.getLogger(__name__)

RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""A database that cannot write is asked again for about 1.5 s before readers are told."""


async def write_end(
    desk: Desk,
    turn: OpenTurn,
    store: Store,
    state: TurnState,
    reason: str | None,
    error: dict[str, object] | None,
    usage: Usage | None,
    *,
    clock_ms: Callable[[], int],
    memory: TurnMemory | None = None,
) -> Outcome:
    """Commit and publish the end of `turn`; returns what became true.

    If the database cannot write: readers are told that the turn failed (`storage_unavailable`), and
    the answer goes on being offered to the database until it takes it; the session waits for that.
    """
    end = _End(desk, turn, store, clock_ms, memory)
    for pause in (*RETRY_SECONDS, None):
        outcome, runs, unit = end.compose(state, reason, error, usage)
        try:
            await store.database.submit(unit)
        except WriteConflict:
            for run in runs:  # terminated meanwhile: that has written the end
                desk.log.void(run)
            return outcome
        except WriteFailed as failure:
            desk.log.void(*runs)
            if pause is None:
                return await _told_but_not_written(end, usage, str(failure))
            await asyncio.sleep(pause)
        else:
            end.remember(outcome)
            desk.log.publish(*runs)
            return outcome
    raise AssertionError("unreachable")


async def _told_but_not_written(end: _End, usage: Usage | None, failure: str) -> Outcome:
    log_.error("the end of turn %s cannot be stored: %s", end.turn.turn_id, failure)
    error: dict[str, object] = {
        "reason": "storage_unavailable",
        "message": f"The answer cannot be stored: {failure}",
    }
    # The same unit until it is taken, and the journal may get its text in before.
    outcome, runs, unit = end.compose(TurnState.FAILED, "storage_unavailable", error, usage, drops_runs=True)
    end.desk.log.publish(*runs)
    end.turn.state = outcome.state
    if not end.turn.done.done():
        end.turn.done.set_result(outcome)  # who waits for the answer does not wait for the disk
    while True:
        try:
            await end.store.database.submit(unit)
        except WriteConflict as conflict:
            if end.desk.log.over is None:
                log_.error("the end of turn %s was refused: %s", end.turn.turn_id, conflict)
            return outcome
        except WriteFailed:
            await asyncio.sleep(1)
        else:
            end.remember(outcome)
            return outcome


def add_usage(unit: UnitOfWork, desk: Desk, usage: Usage, now_ms: int) -> None:
    """Enter the tokens of a turn into the ledger."""
    session = desk.log.session
    ledger.add(
        unit,
        principal=session.principal,
        user_id=session.user_id,
        agent=session.agent,
        llm=desk.agent.llm.name,
        now_ms=now_ms,
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
    )


class _End:
    """Composes the unit of work that ends one turn."""

    def __init__(
        self, desk: Desk, turn: OpenTurn, store: Store, clock_ms: Callable[[], int], memory: TurnMemory | None
    ) -> None:
        self.desk = desk
        self.turn = turn
        self.store = store
        self.clock_ms = clock_ms
        self.memory = memory
        self.now_ms = 0
        """When the turn ended, as the last unit composed says."""
        self.is_remembered = False
        """Whether that unit has long-term memory keep the turn."""
        self.last_seq = 0
        """The number of the turn's last event."""

    def compose(
        self,
        state: TurnState,
        reason: str | None,
        error: dict[str, object] | None,
        usage: Usage | None,
        *,
        drops_runs: bool = False,
    ) -> tuple[Outcome, list[Run], UnitOfWork]:
        """`drops_runs`: make room for the turn's text also where the journal has not written any yet."""
        desk, turn, log = self.desk, self.turn, self.desk.log
        tape = log.tape if turn is desk.open else None
        text = tape.text() if tape is not None else ""
        message_id = turn.message_id if text else None
        usage_json: dict[str, object] | None = dict(usage.to_json()) if usage is not None else None
        timings = timings_of(turn)
        now = self.now_ms = self.clock_ms()
        unit = UnitOfWork(log.session.session_id)
        runs = []
        if error is not None:
            runs.append(log.take_fact(EventKind.ERROR, error, turn_id=turn.turn_id))
        fields: dict[str, object] = {"status": state.value}
        if reason is not None:
            fields["reason"] = reason
        fields |= {"turn_id": turn.turn_id, "message_id": message_id, "usage": usage_json, "timings": timings}
        finished = log.take_fact(EventKind.TURN_FINISHED, fields, turn_id=turn.turn_id)
        runs.append(finished)
        turns.add_finish(
            unit,
            turn.turn_id,
            state=state,
            reason=reason,
            last=finished.first,
            now=now,
            usage=usage_json,
            timings=timings,
            error=error,
        )
        sessions.add_finish(
            unit,
            now=now,
            last=log.last_seq,
            messages=1 if text else 0,
            prompt=usage.prompt_tokens if usage else 0,
            completion=usage.completion_tokens if usage else 0,
        )
        self.last_seq = finished.first
        for run in (*turn.shown, *runs):
            events.add_fact(
                unit,
                seq=run.first,
                kind=run.kind.value,
                turn_id=turn.turn_id,
                fact=run.fact,
                created_ms=run.at_ms,
            )
        if usage is not None and not log.session.ephemeral:
            add_usage(unit, desk, usage, now)
        if text:
            messages.add_append(
                unit,
                Message(
                    turn.message_id,
                    unit.session_id,
                    turn.turn_id,
                    "assistant",
                    text,
                    state.value,
                    finished.first,
                    now,
                ),
            )
        if (record := turn.memory_record) is not None:
            turns.add_memory(unit, turn.turn_id, record)
        if self.memory is not None:
            whole = text if state is TurnState.COMPLETED else ""
            self.is_remembered = self.memory.add(unit, desk, turn, answer=whole, seq=finished.first, now_ms=now)
        if tape is not None:
            segments = list(tape.segments())
            if segments and (drops_runs or any(segment.journaled for segment in segments)):
                events.add_drop_runs(unit, from_seq=segments[0].first)
            self._add_runs(unit, segments, message_seq=finished.first, now=now)
        outcome = Outcome(turn.turn_id, state, reason, text, message_id, usage_json, timings, error, now)
        return outcome, runs, unit

    def _add_runs(self, unit: UnitOfWork, segments: list[Segment], *, message_seq: int, now: int) -> None:
        """The table of number → text: small, and all that a cursor in mid-turn needs later."""
        start = 0
        for segment in segments:
            lengths = segment.character_lengths()
            plain = segment.kind is EventKind.TEXT
            events.add_run(
                unit,
                first=segment.first,
                last=segment.last,
                turn_id=self.turn.turn_id,
                kind=segment.kind.value,
                lengths=lengths,
                content=None if plain else segment.text(),
                message_seq=message_seq if plain else None,
                start=start if plain else 0,
                created_ms=now,
            )
            if plain:
                start += sum(lengths)

    def remember(self, outcome: Outcome) -> None:
        """Keep the warm copy true: the session's counters, and the history the next turn starts from."""
        log, desk = self.desk.log, self.desk
        self.turn.is_stored = True
        usage = outcome.usage or {}
        session = log.session
        log.session = replace(
            session,
            active_ms=self.now_ms,
            remembered_seq=self.last_seq if self.is_remembered else session.remembered_seq,
            last_seq=log.last_seq,
            message_count=session.message_count + (1 if outcome.text else 0),
            prompt_tokens=session.prompt_tokens + int(str(usage.get("prompt_tokens", 0))),
            completion_tokens=session.completion_tokens + int(str(usage.get("completion_tokens", 0))),
        )
        if desk.window is not None and outcome.text and self.turn is desk.open:
            desk.window = [
                *desk.window,
                entry(
                    "assistant",
                    outcome.text + MARKS.get(outcome.state.value, ""),
                    self.turn.message_id,
                    self.last_seq,
                ),
            ]
        if self.memory is not None:
            self.memory.settle(desk, self.turn, is_remembered=self.is_remembered)


def timings_of(turn: OpenTurn) -> dict[str, object]:
    """Milliseconds since the message was accepted."""

    def since(clock: float | None) -> float | None:
        return round((clock - turn.created_clock) * 1000, 1) if clock else None

    return {
        "queued_ms": since(turn.started_clock),
        "first_token_ms": since(turn.first_token_clock),
        "total_ms": since(time.monotonic()),
    }
