"""Change: one change of a warm session: its numbers, its rows, what readers see and the warm copy, in one step.

    async with Change(session_log) as change:
        change.fact(TurnStarted(…))
        turns.add_open(change.unit, …)
        change.count(messages=1)

At the end of the block the unit of work is submitted in the same tick in which the numbers were taken, so numbers and
commits have one order. After the commit readers see the facts and `session_log.session` is replaced. If the commit
fails, the facts are void and one error is raised. Both also happen when the caller is cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from app.domain.errors import HectorError, Unavailable, session_not_found, session_over
from app.domain.event import Event, TurnQueued, TurnStarted
from app.domain.session import Session, SessionStatus
from app.domain.turn import Usage
from app.events.log import BLOCK, SessionLog
from app.events.run import Run, fact_row
from app.storage import events, sessions
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log = logging.getLogger(__name__)


class Change:
    """One change of one session; used once."""

    def __init__(
        self,
        session_log: SessionLog,
        *,
        requires_active: bool = False,
        is_required: bool = True,
        is_void_when_over: bool = False,
    ) -> None:
        """`requires_active`: the database refuses the change unless the session is active.

        `is_required`: it refuses the change when the session was deleted. `is_void_when_over`: the change fails when
        the session is terminated while the change is being written (its rows are erased then).
        """
        self.unit = UnitOfWork(session_log.session.session_id)
        self._session_log = session_log
        self._requires_active = requires_active
        self._is_required = is_required
        self._is_void_when_over = is_void_when_over
        self._facts: list[Run] = []
        self._are_shown = False
        self._now_ms: int | None = None
        self._messages = self._prompt = self._completion = 0
        self._fields: dict[str, Any] = {}
        self._undo: dict[str, Any] = {}
        self._reserved = session_log.reserved_seq
        self._on_commit: list[Callable[[], None]] = []
        self._on_failure: list[Callable[[], None]] = []
        self._written: asyncio.Future[None] | None = None
        self._is_settled = False
        self._error: Exception | None = None

    # -- collecting ----------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """As it is before the change."""
        return self._session_log.session

    def fact(self, event: Event) -> Run:
        """Take the next number for `event` and insert its row."""
        run = self._session_log.take_fact(event)
        self._facts.append(run)
        self._insert(run, fact_row(event) if isinstance(event, (TurnQueued, TurnStarted)) else run.payload)
        return run

    def store(self, run: Run) -> None:
        """Insert the row of a fact that readers have already seen, unless it was stored for readers elsewhere."""
        self._insert(run, run.payload, once=True)
        self.on_commit(lambda: setattr(run, "is_stored", True))

    def _insert(self, run: Run, fact: bytes, *, once: bool = False) -> None:
        events.add_fact(
            self.unit,
            seq=run.first,
            kind=run.kind.value,
            turn_id=run.turn_id,
            fact=fact,
            created_ms=run.at_ms,
            once=once,
        )
        outbox = self._session_log.outbox
        if outbox is not None and outbox.add(self.unit, self._session_log.session, run):
            self._on_commit.append(outbox.wake)

    def number(self) -> int:
        """Take the next number for something that is not an event."""
        return self._session_log.take_silent()

    def count(self, *, messages: int = 0, usage: Usage | None = None) -> None:
        """Add to the session's counters."""
        self._messages += messages
        if usage is not None:
            self._prompt += usage.prompt_tokens
            self._completion += usage.completion_tokens

    def set(self, *, active_ms: int | None = None, **fields: Any) -> None:
        """Set fields of the warm copy after the commit. Except for `active_ms`, the caller updates their columns."""
        if active_ms is not None:
            self._now_ms = fields["active_ms"] = active_ms
        self._fields |= fields

    def set_now(self, **fields: Any) -> None:
        """Set fields of the warm copy now; they are reset if the commit fails."""
        session = self._session_log.session
        self._undo |= {name: getattr(session, name) for name in fields if name not in self._undo}
        self._session_log.session = replace(session, **fields)

    def reserve(self, wanted: int) -> None:
        """Reserve `wanted` numbers and a block more; they may be used after the commit."""
        last = self._session_log.last_seq
        self._reserved = max(self._reserved, last + wanted + max(BLOCK, min(last, 64 * BLOCK)))

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the change is committed, before any other task runs."""
        self._on_commit.append(callback)

    def on_failure(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the change has failed."""
        self._on_failure.append(callback)

    def show(self) -> None:
        """Let readers see the facts now, whether or not the rows are committed."""
        self._are_shown = True
        self._session_log.publish(*self._facts)

    # -- writing -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._take_back()
            for callback in self._on_failure:
                callback()
            return
        await self.commit()

    async def commit(self) -> None:
        """Submit the unit and wait until it is committed.

        Raises:
            Unavailable: the database cannot write.
            SessionOver, NotFound: the session is over, or was deleted.
        """
        self.submit()
        await self.committed()

    def submit(self) -> None:
        """Submit the unit. The caller must not await between taking its numbers and this call."""
        session_log = self._session_log
        last = session_log.last_seq
        if self._reserved - last < BLOCK // 2:
            self._reserved = last + BLOCK
        sessions.add_change(
            self.unit,
            now=self._now_ms,
            last=last,
            reserved=self._reserved,
            messages=self._messages,
            prompt=self._prompt,
            completion=self._completion,
            epoch=session_log.session.epoch,
            requires_active=self._requires_active,
            is_required=self._is_required,
        )
        self._hand_over()

    def submit_again(self) -> None:
        """Submit the same unit again, after `show` and a `commit` that raised Unavailable."""
        self._is_settled, self._error = False, None
        self._hand_over()

    def _hand_over(self) -> None:
        self._written = self._session_log.database.submit(self.unit)
        self._written.add_done_callback(self._settle)

    async def committed(self) -> None:
        """Wait until the submitted unit is committed; raises like `commit`."""
        assert self._written is not None, "nothing was submitted"
        try:
            # Shielded: the change is written even if its caller is cancelled.
            await asyncio.shield(self._written)
        except (WriteFailed, WriteConflict):
            pass  # raised below, as an error of the domain
        self._settle(self._written)
        if self._error is not None:
            raise self._error

    def _settle(self, written: asyncio.Future[None]) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        error = written.exception()
        if error is not None:
            self._take_back()
            self._error = self._refusal(error)
        elif self._is_void_when_over and self._session_log.over is not None:
            self._take_back()
            self._error = session_over(self._session_log.over.value, self._session_log.session.session_id)
        else:
            self._take_effect()
        for callback in self._on_commit if self._error is None else self._on_failure:
            self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        """What a callback raises is raised where the change is awaited, not in the loop that settles it."""
        try:
            callback()
        except Exception as error:
            log.exception("what follows a change of session %s failed by our fault", self.unit.session_id)
            self._error = error

    def _take_effect(self) -> None:
        session_log, session = self._session_log, self._session_log.session
        session_log.reserved_seq = max(session_log.reserved_seq, self._reserved)
        session_log.session = replace(
            session,
            **self._fields,
            last_seq=session_log.last_seq,
            reserved_seq=session_log.reserved_seq,
            message_count=session.message_count + self._messages,
            prompt_tokens=session.prompt_tokens + self._prompt,
            completion_tokens=session.completion_tokens + self._completion,
        )
        if self._facts and not self._are_shown:
            session_log.publish(*self._facts)

    def _take_back(self) -> None:
        if self._undo:
            self._session_log.session = replace(self._session_log.session, **self._undo)
        if self._facts and not self._are_shown:
            self._session_log.void(*self._facts)

    def _refusal(self, error: BaseException) -> HectorError:
        session_log = self._session_log
        if session_log.is_released and session_log.over is None:
            return Unavailable("Another server works on this session now; send the request again.", reason="moved")
        if isinstance(error, WriteFailed):
            unavailable = Unavailable(f"The change could not be stored: {error}")
            unavailable.__cause__ = error
            return unavailable
        if session_log.over is not None or session_log.session.status is not SessionStatus.ACTIVE:
            return session_over((session_log.over or session_log.session.status).value, session_log.session.session_id)
        return session_not_found(session_log.session.session_id)
