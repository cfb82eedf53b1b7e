"""The end of a turn: answer, counters, numbers and terminal event become true together, then visible."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain, repeat

from app.domain.errors import HectorError, Unavailable
from app.domain.event import Snapshot, TurnFailed, TurnFinished
from app.domain.label import least_trusted
from app.domain.message import Message, is_blank
from app.domain.session import Session
from app.domain.turn import Failure, Outcome, Timings, TurnState, Usage
from app.events.change import Change
from app.events.log import TAIL, TAIL_OF_ENDS
from app.events.run import Run
from app.events.tape import Tape
from app.llm.base import LLM
from app.memory.working import Entry, entry
from app.storage import messages, sessions, turns
from app.storage import usage as ledger
from app.storage.engine.unit_of_work import UnitOfWork, Unwritable
from app.turns import checkpoint
from app.turns.closing import close_act, ended_by_turn
from app.turns.desk import Desk, Unclosed
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn
from app.turns.prompt import MARKS

log = logging.getLogger(__name__)

RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""A database that cannot write is asked again for about 1.5 s before readers are told."""
PATIENT_RETRY_SECONDS = 1.0
"""After that it is asked this often, until it takes the answer."""

OUR_FAULT = Failure("internal", "Something went wrong on our side; the log has the details.")


class Extent(Enum):
    """How much is stored of an end: less where more has failed by our fault, so that every turn ends."""

    WHOLE = "whole"
    LEAST = "least"
    """The state of the turn and its text, as a snapshot and a message."""
    BARE = "bare"
    """The state of the turn."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a turn is to end."""

    state: TurnState
    reason: str | None
    failure: Failure | None = None
    usage: Usage | None = None


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
        self._stored: Outcome | None = None
        self._told: Outcome | None = None
        """What readers were told before it is stored, with its events."""
        self._told_facts: list[Run] = []
        self._closed: list[Entry] = []
        """The outcomes of the step that the end cut, as the model sees them."""

    async def write(self, verdict: Verdict) -> Outcome:
        """Commit and publish the end; returns what became true. Whatever fails, readers are told one end.

        If the database cannot write: readers are told that the turn failed (`storage_unavailable`), and
        the answer goes on being offered to the database until it takes it; the session waits for that.
        What fails by our fault is logged, and less is stored: see `Extent`.
        """
        for extent in Extent:
            try:
                return await self._write(verdict, extent)
            except Exception:
                log.exception("the end of turn %s failed by our fault (%s)", self._turn.turn_id, extent.value)
                if self._stored is not None:  # what follows the commit failed
                    return self._stored
                if self._desk.session_log.over is not None:  # the terminate has written the end
                    return Outcome(self._turn.turn_id, TurnState.CANCELLED, "session_terminated")
                verdict = Verdict(TurnState.FAILED, OUR_FAULT.reason, OUR_FAULT)
        return self._end_in_memory(verdict)

    async def _write(self, verdict: Verdict, extent: Extent) -> Outcome:
        """Raises: whatever is our fault; nothing is stored then, and nothing told but what `_told` says."""
        if self._told is not None:
            return await self._store_told(self._told, extent)
        for pause in chain(RETRY_SECONDS, repeat(None)):
            outcome: Outcome | None = None
            acts = self._turn.acts
            try:
                async with Change(self._desk.session_log) as change:
                    outcome = self._compose(change, verdict, extent)
            except Unavailable as error:
                if isinstance(error.__cause__, Unwritable):
                    raise
                if pause is None and self._turn.started_seq:
                    return await self._store_told(self._tell(verdict, extent, error.message), extent)
                # A turn that never ran may still run after a restart: nobody is told that it is over.
                await asyncio.sleep(PATIENT_RETRY_SECONDS if pause is None else pause)
            except HectorError:
                if self._desk.session_log.over is not None and outcome is not None:
                    return outcome  # terminated meanwhile: that has written the end
                if self._turn.acts is acts:
                    raise
                # Somebody has decided an act meanwhile: the end closes it as it is now.
            else:
                return outcome
        raise AssertionError("unreachable")

    def _tell(self, verdict: Verdict, extent: Extent, problem: str) -> Outcome:
        """Tell readers before the database has it, and those who wait for the answer: they do not wait for the disk."""
        turn = self._turn
        log.error("the end of turn %s cannot be stored: %s", turn.turn_id, problem)
        failure = Failure("storage_unavailable", f"The answer cannot be stored: {problem}")
        verdict = Verdict(TurnState.FAILED, failure.reason, failure, verdict.usage)
        told = self._outcome(verdict, extent)
        self._show(told, failure)
        turn.settle(told)
        return told

    def _show(self, outcome: Outcome, failure: Failure) -> None:
        """Tell readers, in numbers of the tail: if a restart has to write another end, they do not see that one."""
        session_log = self._desk.session_log
        self._told = outcome
        session_log.skip_to_tail(TAIL)
        self._told_facts = [session_log.show(TurnFailed(outcome.turn_id, failure))]
        session_log.skip_to_tail(TAIL_OF_ENDS)
        self._told_facts.append(session_log.show(_finished(outcome)))

    async def _store_told(self, outcome: Outcome, extent: Extent) -> Outcome:
        """Store what readers have been told. The unit stays the same until it is taken."""
        session_log = self._desk.session_log
        if extent is not Extent.WHOLE:
            text = outcome.text if extent is Extent.LEAST else ""
            outcome = replace(outcome, text=text, usage=None, timings=None)
        change = Change(session_log)
        # The journal may get its text in before: make room for it in any case.
        self._fill(change, outcome, extent, drops_runs=True)
        change.submit()
        while True:
            try:
                await change.committed()
            except Unavailable as error:
                if isinstance(error.__cause__, Unwritable):
                    raise
                await asyncio.wait([session_log.database.next_commit()], timeout=PATIENT_RETRY_SECONDS)
                change.submit_again()
            except HectorError:
                if session_log.over is None:
                    raise
                return outcome
            else:
                return outcome

    def _end_in_memory(self, verdict: Verdict) -> Outcome:
        """Nothing could be stored, by our fault: tell readers, and leave the turn's row to the next turn or start."""
        outcome = self._told
        if outcome is None:
            outcome = Outcome(self._turn.turn_id, verdict.state, verdict.reason, failure=verdict.failure)
            self._show(outcome, OUR_FAULT)
        self._desk.unclosed.append(Unclosed(self._turn.turn_id, tuple(self._told_facts)))
        self._desk.window = None  # to be read again
        return outcome

    def _compose(self, change: Change, verdict: Verdict, extent: Extent) -> Outcome:
        outcome = self._outcome(verdict, extent)
        self._fill(change, outcome, extent)
        return outcome

    def _outcome(self, verdict: Verdict, extent: Extent) -> Outcome:
        turn = self._turn
        tape = self._tape
        text = tape.text() if tape is not None and extent is not Extent.BARE else ""
        if extent is Extent.LEAST:
            text = text.replace("\0", "\ufffd").encode(errors="replace").decode()
        is_whole = extent is Extent.WHOLE
        return Outcome(
            turn.turn_id,
            verdict.state,
            verdict.reason,
            text,
            turn.message_id if text else None,
            verdict.usage,
            timings_of(turn) if is_whole else None,
            verdict.failure,
            self._clock_ms(),
            turn.finish_reason if is_whole else None,
        )

    @property
    def _tape(self) -> Tape | None:
        return self._desk.session_log.tape if self._turn is self._desk.open else None

    def _fill(self, change: Change, outcome: Outcome, extent: Extent, *, drops_runs: bool = False) -> None:
        """Everything that becomes true with the end.

        `drops_runs`: make room for the turn's text also where the journal has not written any yet.
        """
        desk, turn = self._desk, self._turn
        text, now = outcome.text, outcome.finished_ms or 0
        change.set(active_ms=now)
        change.count(messages=1 if text else 0, usage=outcome.usage)
        if turn.acts and extent is not Extent.BARE:
            self._close_step(change, outcome, now)
        seq = self._add_facts(change, outcome, extent)
        turns.add_finish(change.unit, outcome, last=seq, now=now)
        if text:
            messages.add(change.unit, self._message(outcome, seq=seq))
        is_remembered = False
        if extent is Extent.WHOLE:
            if outcome.usage is not None and not desk.session_log.session.ephemeral:
                add_usage(change.unit, desk.session_log.session, desk.agent.llm, outcome.usage, now)
            if (record := turn.memory_record) is not None:
                turns.add_memory(change.unit, turn.turn_id, record)
            if (tape := self._tape) is not None:
                checkpoint.add_runs(change.unit, tape, turn.turn_id, message_seq=seq, now_ms=now, drops_runs=drops_runs)
            is_remembered = self._remember(change, outcome, seq=seq)
        is_whole = extent is Extent.WHOLE
        change.on_commit(lambda: self._committed(outcome, seq=seq, is_whole=is_whole, is_remembered=is_remembered))

    def _close_step(self, change: Change, outcome: Outcome, now: int) -> None:
        """The end cut a step: its acts get an end as well, and every call in the history an outcome."""
        turn, desk = self._turn, self._desk
        if self._told_facts:  # the numbers left are few
            change.reserve(2 * len(turn.acts))
        closed = [turn.closed.get(act.call_id) or close_act(act, now) for act in turn.acts]
        ids = [f"{turn.message_id}_{place}" for place in range(len(closed))]
        entries = checkpoint.add_close(change, desk, turn, closed, ids, now)
        if not self._told_facts:
            for before, after in zip(turn.acts, closed, strict=True):
                if before is not after:
                    change.fact(ended_by_turn(after))
        self._closed = entries

    def _add_facts(self, change: Change, outcome: Outcome, extent: Extent) -> int:
        """The events of the end, and the rows of those that readers saw before; the number of the last."""
        for run in [*(self._turn.shown if extent is Extent.WHOLE else []), *self._told_facts]:
            change.store(run)
        if self._told_facts:
            return self._told_facts[-1].first
        if extent is not Extent.WHOLE and self._tape is not None:  # not all of its text may be stored as it was sent
            change.fact(Snapshot(outcome.turn_id, self._turn.message_id, outcome.text))
        if outcome.failure is not None:
            change.fact(TurnFailed(outcome.turn_id, outcome.failure))
        return change.fact(_finished(outcome)).first

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
            trust=self._turn.trust,
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

    def _committed(self, outcome: Outcome, *, seq: int, is_whole: bool, is_remembered: bool) -> None:
        """Keep the history that the next turn starts from."""
        desk, turn = self._desk, self._turn
        turn.is_stored = True
        if is_whole and (tape := self._tape) is not None:
            tape.is_stored = True
        self._stored = outcome
        turn.acts = []
        desk.trust = least_trusted(desk.trust, turn.trust)
        if desk.window is not None and turn is desk.open:
            desk.window += self._closed
        if desk.window is not None and not is_blank(outcome.text) and turn is desk.open:
            said = outcome.text + MARKS.get(outcome.state.value, "")
            desk.window = [*desk.window, entry("assistant", said, turn.message_id, seq)]
        if self._memory is not None:
            self._memory.settle(desk, turn, is_remembered=is_remembered)
        self._on_commit(outcome)


def _finished(outcome: Outcome) -> TurnFinished:
    return TurnFinished(
        outcome.turn_id,
        outcome.state,
        outcome.message_id,
        outcome.reason,
        outcome.usage,
        outcome.timings,
        outcome.finish_reason,
    )


def add_usage(unit: UnitOfWork, session: Session, llm: LLM, usage: Usage, now_ms: int) -> None:
    """Enter the tokens of a turn into the ledger."""
    ledger.add(
        unit,
        principal=session.principal,
        user_id=session.user_id,
        agent=session.agent,
        llm=llm.name,
        now_ms=now_ms,
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
    )


def timings_of(turn: OpenTurn) -> Timings:
    def since(clock: float | None) -> float | None:
        return round((clock - turn.created_clock) * 1000, 1) if clock else None

    return Timings(since(turn.started_clock), since(turn.first_token_clock), since(time.monotonic()))
