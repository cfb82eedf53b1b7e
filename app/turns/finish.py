"""The end of a turn: answer, counters, numbers and terminal event become true together, then visible."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from app.domain.errors import HectorError, Unavailable
from app.domain.event import EventKind, TurnFailed, TurnFinished
from app.domain.message import Message
from app.domain.turn import Failure, Outcome, Timings, TurnState, Usage
from app.events.change import Change
from app.events.tape import Segment, Tape
from app.memory.working import entry
from app.storage import events, messages, sessions, turns
from app.storage import usage as ledger
from app.storage.engine.unit_of_work import UnitOfWork
from app.turns.desk import Desk
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn
from app.turns.prompt import MARKS

log = logging.getLogger(__name__)

RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""A database that cannot write is asked again for about 1.5 s before readers are told."""
PATIENT_RETRY_SECONDS = 1.0
"""After that it is asked this often, until it takes the answer."""


class End:
    """The end of one turn, on its way into the database."""

    def __init__(
        self,
        desk: Desk,
        turn: OpenTurn,
        clock_ms: Callable[[], int],
        memory: TurnMemory | None,
        on_commit: Callable[[Outcome], None],
    ) -> None:
        """`on_commit` is called in the tick in which readers see the end: a message that they answer with finds the
        session free."""
        self._desk = desk
        self._turn = turn
        self._clock_ms = clock_ms
        self._memory = memory
        self._on_commit = on_commit

    async def write(
        self, state: TurnState, reason: str | None, failure: Failure | None, usage: Usage | None
    ) -> Outcome:
        """Commit and publish the end; returns what became true.

        If the database cannot write: readers are told that the turn failed (`storage_unavailable`), and
        the answer goes on being offered to the database until it takes it; the session waits for that.
        """
        for pause in (*RETRY_SECONDS, None):
            change = Change(self._desk.session_log)
            outcome = self._compose(change, state, reason, failure, usage)
            try:
                await change.commit()
            except Unavailable as error:
                if pause is None:
                    return await self._tell_unwritten(usage, error.message)
                await asyncio.sleep(pause)
            except HectorError:  # terminated meanwhile: that has written the end
                return outcome
            else:
                return outcome
        raise AssertionError("unreachable")

    async def _tell_unwritten(self, usage: Usage | None, problem: str) -> Outcome:
        """Tell readers before the database has it. The unit stays the same until it is taken."""
        turn, session_log = self._turn, self._desk.session_log
        log.error("the end of turn %s cannot be stored: %s", turn.turn_id, problem)
        failure = Failure("storage_unavailable", f"The answer cannot be stored: {problem}")
        change = Change(session_log)
        # The journal may get its text in before: make room for it in any case.
        outcome = self._compose(change, TurnState.FAILED, failure.reason, failure, usage, drops_runs=True)
        change.show()
        turn.settle(outcome)  # those who wait for the answer do not wait for the disk
        change.submit()
        while True:
            try:
                await change.committed()
            except Unavailable:
                await asyncio.sleep(PATIENT_RETRY_SECONDS)
                change.submit_again()
            except HectorError as refusal:
                if session_log.over is None:
                    log.error("the end of turn %s was refused: %s", turn.turn_id, refusal)
                return outcome
            else:
                return outcome

    def _compose(
        self,
        change: Change,
        state: TurnState,
        reason: str | None,
        failure: Failure | None,
        usage: Usage | None,
        *,
        drops_runs: bool = False,
    ) -> Outcome:
        """Everything that becomes true with the end.

        `drops_runs`: make room for the turn's text also where the journal has not written any yet.
        """
        desk, turn = self._desk, self._turn
        tape = desk.session_log.tape if turn is desk.open else None
        text = tape.text() if tape is not None else ""
        message_id = turn.message_id if text else None
        now = self._clock_ms()
        outcome = Outcome(turn.turn_id, state, reason, text, message_id, usage, timings_of(turn), failure, now)
        change.set(active_ms=now)
        change.count(messages=1 if text else 0, usage=usage)
        seq = self._add_facts(change, outcome)
        turns.add_finish(change.unit, outcome, last=seq, now=now)
        if usage is not None and not desk.session_log.session.ephemeral:
            add_usage(change.unit, desk, usage, now)
        if text:
            messages.add(change.unit, self._message(outcome, seq=seq))
        if (record := turn.memory_record) is not None:
            turns.add_memory(change.unit, turn.turn_id, record)
        if tape is not None:
            self._add_runs(change.unit, tape, message_seq=seq, now=now, drops_runs=drops_runs)
        is_remembered = self._remember(change, outcome, seq=seq)
        change.on_commit(lambda: self._committed(outcome, seq=seq, is_remembered=is_remembered))
        return outcome

    def _add_facts(self, change: Change, outcome: Outcome) -> int:
        """The events of the end, and the rows of those that readers saw before; the number of the last."""
        for run in self._turn.shown:
            change.store(run)
        if outcome.failure is not None:
            change.fact(TurnFailed(outcome.turn_id, outcome.failure))
        finished = TurnFinished(
            outcome.turn_id, outcome.state, outcome.message_id, outcome.reason, outcome.usage, outcome.timings
        )
        return change.fact(finished).first

    def _message(self, outcome: Outcome, *, seq: int) -> Message:
        return Message(
            message_id=self._turn.message_id,
            session_id=self._desk.session_id,
            turn_id=self._turn.turn_id,
            role="assistant",
            content=outcome.text,
            status=outcome.state.value,
            seq=seq,
            created_ms=outcome.finished_ms or 0,
        )

    def _remember(self, change: Change, outcome: Outcome, *, seq: int) -> bool:
        """Whether long-term memory keeps the turn with this unit."""
        if self._memory is None:
            return False
        answer = outcome.text if outcome.state is TurnState.COMPLETED else ""
        now = outcome.finished_ms or 0
        if not self._memory.add(change.unit, self._desk, self._turn, answer=answer, now_ms=now):
            return False
        sessions.add_remembered(change.unit, upto=seq)
        change.set(remembered_seq=seq)
        return True

    def _add_runs(self, unit: UnitOfWork, tape: Tape, *, message_seq: int, now: int, drops_runs: bool) -> None:
        """The table of number → text: small, and all that a cursor in mid-turn needs later."""
        segments = list(tape.segments())
        if segments and (drops_runs or any(segment.journaled for segment in segments)):
            events.add_drop_runs(unit, from_seq=segments[0].first)
        start = 0
        for segment in segments:
            start += self._add_segment(unit, segment, start=start, message_seq=message_seq, now=now)

    def _add_segment(self, unit: UnitOfWork, segment: Segment, *, start: int, message_seq: int, now: int) -> int:
        """How many characters of the message the segment is."""
        lengths = segment.character_lengths()
        plain = segment.kind is EventKind.TEXT
        events.add_run(
            unit,
            first=segment.first,
            last=segment.last,
            turn_id=self._turn.turn_id,
            kind=segment.kind.value,
            lengths=lengths,
            content=None if plain else segment.text(),
            message_seq=message_seq if plain else None,
            start=start if plain else 0,
            created_ms=now,
        )
        return sum(lengths) if plain else 0

    def _committed(self, outcome: Outcome, *, seq: int, is_remembered: bool) -> None:
        """Keep the history that the next turn starts from."""
        desk, turn = self._desk, self._turn
        turn.is_stored = True
        if desk.window is not None and outcome.text and turn is desk.open:
            said = outcome.text + MARKS.get(outcome.state.value, "")
            desk.window = [*desk.window, entry("assistant", said, turn.message_id, seq)]
        if self._memory is not None:
            self._memory.settle(desk, turn, is_remembered=is_remembered)
        self._on_commit(outcome)


def add_usage(unit: UnitOfWork, desk: Desk, usage: Usage, now_ms: int) -> None:
    """Enter the tokens of a turn into the ledger."""
    session = desk.session_log.session
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


def timings_of(turn: OpenTurn) -> Timings:
    def since(clock: float | None) -> float | None:
        return round((clock - turn.created_clock) * 1000, 1) if clock else None

    return Timings(since(turn.started_clock), since(turn.first_token_clock), since(time.monotonic()))
