"""SessionLog: the events of one warm session in order, and the readers that wait for the next one.

The hot path ends here: one upstream read becomes one `append_text`, a plain call that numbers the
deltas and wakes each reader once. No queue, no await, no SQL on the way. Facts come through `change.py`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from app.domain.event import Event, EventKind
from app.domain.session import Session, SessionStatus
from app.events.outbox import Outbox
from app.events.run import RUN_BYTES, Run, fact_run
from app.events.tape import Tape
from app.storage.engine.database import Database
from app.storage.engine.fence import FOREVER, Lease, Superseded

if TYPE_CHECKING:
    from app.events.elsewhere import Elsewhere

NOT_OURS = -1
"""The epoch of the copy of a session that another server owns: no row has it, so that the copy can change nothing."""
OWNED_AGAIN_SECONDS = 0.2
"""How often a turn looks whether it may go on to its end."""
SESSION_BYTES = 4_000
"""What the objects of a warm session take in memory beside its events and its history."""
BLOCK = 1024
"""Numbers reserved at a time: a restarted server continues above the block, so it never repeats a number."""
TAIL, TAIL_OF_RESTART, TAIL_OF_ENDS = 48, 32, 30
"""Numbers before the end of a reserved block; no text gets one of the last `TAIL` (turns/step.py keeps them free).

Ends of turns that readers are told although they cannot be stored have the last numbers, `TAIL_OF_ENDS`. The end that a
restart writes for the same turn lies before those (`TAIL_OF_RESTART`), and the error of a told end before that. So a
reader that was told one end is never told another.
"""
_ENDS = (EventKind.TURN_FINISHED, EventKind.ERROR)


class Listener(Protocol):
    """A reader of a log: `notify` is called, without await, when there may be new events."""

    def notify(self) -> None: ...

    def cut(self) -> None:
        """The session is being terminated: what was not sent yet is dropped, except for the ends of turns."""
        ...


@dataclass(slots=True)
class StopOrder:
    """What a terminate stopped: (turn id, message id) of each open turn, the running one first.

    `upstream_closed` gives the time (ms) when the model's connection was closed; `None` if none was open.
    `tokens_after` counts deltas that arrived after the order and were dropped.
    """

    turns: list[tuple[str, str | None]]
    upstream_closed: Awaitable[int] | None
    tokens_after: Callable[[], int]


class Tail(Protocol):
    """Where the events of one session go beside the journal, so that other servers can read them at once.

    It decides when readers here see what is ready: by `SessionLog.show_upto`.
    """

    @property
    def is_degraded(self) -> bool:
        """Whether other servers have the journal only, at the moment."""
        ...

    def text_added(self) -> None:
        """There is more text. Called on the hot path: a plain call, without I/O."""
        ...

    def facts_added(self) -> None:
        """Facts were committed, or numbers left out."""
        ...


class SessionDesk(Protocol):
    """What app/turns keeps for a warm session, as far as the log calls it."""

    @property
    def weight(self) -> int:
        """Approximate bytes of the history that is kept for the next turn."""
        ...

    def readers_changed(self) -> None:
        """A reader entered or left the session."""
        ...

    def order_stop(self) -> StopOrder:
        """Stop everything without delay, because the session is being terminated; return what was stopped."""
        ...


class SessionLog:
    """A warm session. `session` is a copy of its row; the object is replaced, never changed.

    `last_seq` is the highest number taken; a fact's number is taken when its unit of work is
    submitted, and readers see it (and all that follows) once it is committed: `visible_seq`.
    """

    def __init__(
        self,
        session: Session,
        database: Database,
        *,
        ring_bytes: int,
        clock_ms: Callable[[], int],
        lease: Lease = FOREVER,
    ) -> None:
        """`database`: the one that has the session's rows. `lease`: how long this server may believe to own it."""
        self.session = session
        self.database = database
        self.last_seq = session.last_seq
        self.reserved_seq = session.reserved_seq
        self.visible_seq = session.last_seq
        self.over: SessionStatus | None = None
        self.tape: Tape | None = None
        self.last_text_clock: float | None = None
        """Monotonic time of the last delta."""
        self.desk: SessionDesk | None = None
        """Set by app/turns while it keeps something for this session."""
        self.is_busy = False
        """Whether a turn runs, waits or is queued; set by app/turns."""
        self.is_pinned = False
        """Whether this object has something that is not stored yet and must not be evicted."""
        self.cut_at: int | None = None
        """Set by `cut`: of the events up to this number readers get nothing more but ends of turns."""
        self.on_rest: Callable[[SessionLog], None] | None = None
        """Called when neither readers nor turns need this object any more, for the time being."""
        self.outbox: Outbox | None = None
        """Told of every fact; `None` where no address is to be told of any."""
        self.elsewhere: Elsewhere | None = None
        """Set while another server owns the session: this one shows it, and asks that one for what changes it."""
        self.tail: Tail | None = None
        """Set where several servers share a tail, and this one owns the session."""
        self.is_released = False
        """Whether the session was given up to another server: this object must change nothing more."""
        self.used_clock = monotonic()
        self._lease = lease
        self._clock_ms = clock_ms
        self._ring_limit = ring_bytes
        self._ring: list[Run] = []
        self._ring_bytes = 0
        self._ring_floor = session.last_seq
        """Of the events up to this number the ring lacks some."""
        self._unready: list[Run] = []
        self._readings: list[Listener] = []

    # -- writing --------------------------------------------------------------------------------

    def append_text(self, kind: EventKind, chunks: list[bytes]) -> None:
        """Number and publish deltas of the open turn; readers are woken in this loop tick.

        The caller has made sure of `room` for their numbers.

        Raises:
            Superseded: another server may own the session by now.
        """
        tape = self.tape
        assert tape is not None, "text outside a turn"
        clock = monotonic()
        if clock > self._lease.until:
            raise Superseded
        first = self.last_seq + 1
        self.last_seq = last = first + len(chunks) - 1
        now = self._clock_ms()
        run = Run(first, last, kind, chunks=chunks, turn_id=tape.turn_id, at_ms=now)
        self.last_text_clock = clock
        tape.add(kind, first, chunks, run.text, at_ms=now)
        self._add(run)
        if not self._unready:
            if self.tail is not None:
                self.tail.text_added()
            else:
                self.visible_seq = last
                self.wake()

    async def owned_again(self) -> None:
        """Return when this server may believe again that it owns the session. It never may once it was superseded."""
        while monotonic() > self._lease.until:  # noqa: ASYNC110 (a thread renews it)
            await asyncio.sleep(OWNED_AGAIN_SECONDS)

    def room(self) -> int:
        """How many numbers are left in the reserved block."""
        return self.reserved_seq - self.last_seq

    def skip_reserved(self) -> None:
        """Continue above the reserved block: the previous process may have used any number of it."""
        self.last_seq = max(self.last_seq, self.reserved_seq)
        self._leave_out()

    def _leave_out(self) -> None:
        """Numbers were taken that no event has: readers move on over them."""
        if self._unready:
            return
        if self.tail is not None:
            self.tail.facts_added()
        else:
            self.visible_seq = self.last_seq

    def skip_to_tail(self, count: int) -> None:
        """Leave out numbers, unless they are taken: the next `count` ones are the last of the reserved block."""
        self.last_seq = max(self.last_seq, self.reserved_seq - count)

    def take_fact(self, event: Event) -> Run:
        """Take the next number for a fact that is being committed; show it later by `publish`."""
        self.last_seq += 1
        run = fact_run(self.last_seq, event, at_ms=self._clock_ms(), ready=False)
        self._add(run)
        self._unready.append(run)
        if self.tape is not None:
            self.tape.add_fact(run)
        return run

    def show(self, event: Event) -> Run:
        """Number a fact and publish it before it is stored, like text; a crash loses it, like text.

        Raises:
            Superseded: another server may own the session by now.
        """
        if monotonic() > self._lease.until:
            raise Superseded
        run = self.take_fact(event)
        run.is_stored = False
        self.publish(run)
        return run

    def take_silent(self) -> int:
        """Take a number for something that is not an event."""
        self.last_seq += 1
        self._leave_out()
        return self.last_seq

    def follow_owner(self, runs: list[Run], upto: int, session: Session) -> None:
        """Show what the owner, another server, has stored up to number `upto`; `session` is its row by then."""
        for run in runs:
            self._add(run)
            self._play(run)
        if runs and runs[-1].kind in (EventKind.TEXT, EventKind.THINKING):
            self.last_text_clock = monotonic()
        self.session = replace(session, epoch=NOT_OURS)
        self.reserved_seq = max(self.reserved_seq, session.reserved_seq)
        self.last_seq = max(self.last_seq, upto)
        self.show_upto(self.last_seq)

    def replay_owner(self, runs: list[Run]) -> None:
        """Put on the tape what the turn that another server runs had said before this one showed it."""
        for run in runs:
            self._play(run)

    def _play(self, run: Run) -> None:
        """Keep the tape of the open turn that another server runs."""
        if run.kind is EventKind.TURN_STARTED and run.turn_id is not None:
            self.tape = Tape(run.turn_id)
        tape = self.tape
        if tape is None or (run.turn_id is not None and run.turn_id != tape.turn_id):
            return
        if run.count:
            tape.add(run.kind, run.first, run.chunks, run.text, at_ms=run.at_ms)
        elif run.kind is EventKind.TURN_FINISHED:
            tape.is_stored = True
            self.tape = None
        else:
            if run.kind is EventKind.TOOL_CALL:
                tape.seal()  # what was said before is a message by now
            tape.add_fact(run)

    def begin_to_own(self, session: Session) -> None:
        """The session, which another server owned, is this one's now; `session` is its row."""
        self.session = session
        self.tape = None
        self.reserved_seq = max(self.reserved_seq, session.reserved_seq)
        self.last_seq = self.visible_seq = max(self.last_seq, session.last_seq)

    def publish(self, *runs: Run) -> None:
        """Let readers see committed facts, and the events after them that were held back."""
        for run in runs:
            run.ready = True
        self._settle()

    def void(self, *runs: Run) -> None:
        """Drop facts whose commit failed: no reader sees them. Numbers are taken back if they are the last ones.

        Otherwise a reader would move on to them, and after a crash miss what gets them then.
        """
        for run in reversed(runs):
            if run.last == self.last_seq:
                self.last_seq = run.first - 1
        for run in runs:
            run.ready = run.is_void = True  # readers may hold the tape of a turn that is over
            self._ring.remove(run)
            self._ring_bytes -= run.size + RUN_BYTES
            if self.tape is not None and run in self.tape.items:
                self.tape.items.remove(run)
        self._settle()

    def _settle(self) -> None:
        while self._unready and self._unready[0].ready:
            self._unready.pop(0)
        if self.tail is not None:
            self.tail.facts_added()
        else:
            self.show_upto(self.reach)

    @property
    def reach(self) -> int:
        """Up to this number nothing waits for a commit."""
        return self._unready[0].first - 1 if self._unready else self.last_seq

    def show_upto(self, number: int) -> None:
        """Let readers see the events up to `number`, and the numbers that no event has."""
        self.visible_seq = number
        self.wake()

    def runs_within(self, after: int, upto: int) -> list[Run] | None:
        """The runs of the ring with `after` < number ≤ `upto`, whole; `None` if the ring lacks some of them."""
        if after < self._ring_floor:
            return None
        return [run for run in self._ring[bisect_right(self._ring, after, key=_last) :] if run.last <= upto]

    def _add(self, run: Run) -> None:
        self._ring.append(run)
        self._ring_bytes += run.size + RUN_BYTES
        if self._ring_bytes > self._ring_limit:
            self._trim()

    def _trim(self) -> None:
        drop = 0
        while self._ring_bytes > self._ring_limit // 2 and drop < len(self._ring) - 1 and self._ring[drop].ready:
            self._ring_bytes -= self._ring[drop].size + RUN_BYTES
            drop += 1
        if drop:
            self._ring_floor = self._ring[drop - 1].last
        del self._ring[:drop]

    def cut(self) -> None:
        """The session is being terminated: text that readers have not been sent yet is dropped."""
        for reading in self._readings:
            reading.cut()
        self.cut_at = self.last_seq

    def visible_ends(self, after: int, tape: Tape | None) -> list[Run]:
        """What ended turns above `after`, as far as the ring has it, and `tape`, which a reader that lags keeps."""
        items = (*(tape.items if tape is not None else ()), *self._ring)
        ends = {item.first: item for item in items if isinstance(item, Run) and item.kind in _ENDS}
        return [ends[at] for at in sorted(ends) if after < at <= self.visible_seq and not ends[at].is_void]

    def drop_tail(self) -> None:
        """Drop the runs in memory, so that readers get them from the journal. Only without readers and turns."""
        self._ring_floor = max([self._ring_floor, *[run.last for run in self._ring if run.ready]])
        self._ring = [run for run in self._ring if not run.ready]
        self._ring_bytes = sum([run.size + RUN_BYTES for run in self._ring])

    def rest(self) -> None:
        """Keep no more than the next turn needs, if no reader is there and no turn is open or queued.

        The events of a session that was terminated have no rows to be read from.
        """
        if self.is_idle and not self.is_busy and self.over is None:
            self.drop_tail()
            if self.on_rest is not None:
                self.on_rest(self)

    @property
    def weight(self) -> int:
        """Approximate bytes that this object takes in memory while it rests."""
        return SESSION_BYTES + self._ring_bytes + (self.desk.weight if self.desk is not None else 0)

    def visible_text(self) -> str:
        """The text of the open turn up to `visible_seq`."""
        return self.tape.text(self.visible_seq) if self.tape is not None else ""

    # -- reading --------------------------------------------------------------------------------

    def tail_from(self, after: int) -> list[Run] | None:
        """The visible runs above `after`, whole; `None` if the ring no longer (or not yet) reaches back to it."""
        ring = self._ring
        if not ring or ring[0].first > after + 1:
            return None
        visible, newest = self.visible_seq, ring[-1]
        if newest.first == after + 1 and newest.last <= visible:  # a reader that keeps up
            return ring[-1:]
        runs = ring[bisect_right(ring, after, key=_last) :]
        if newest.last > visible:
            runs = [run for run in runs if run.last <= visible]
        return runs

    def wake(self) -> None:
        for reading in self._readings:
            reading.notify()

    @property
    def is_degraded(self) -> bool:
        """Whether readers at other servers, or ours of another server's session, have the journal only."""
        through = self.tail or self.elsewhere
        return through is not None and through.is_degraded

    @property
    def readers(self) -> int:
        return len(self._readings)

    def enter(self, reading: Listener) -> None:
        """Count a reader; a turn without readers is cancelled after its grace."""
        self._readings.append(reading)
        if self.desk is not None:
            self.desk.readers_changed()

    def leave(self, reading: Listener) -> None:
        self._readings.remove(reading)
        if self.desk is not None:
            self.desk.readers_changed()
        if not self._readings:
            self.rest()

    @property
    def is_over(self) -> bool:
        """The session takes no more messages, nothing runs in it, and its last event is visible."""
        is_active = self.over is None and self.session.status is SessionStatus.ACTIVE
        return not is_active and self.visible_seq == self.last_seq

    @property
    def is_idle(self) -> bool:
        """The session has no readers, no open turn and no pending commit."""
        return not self._readings and self.tape is None and not self._unready


def _last(run: Run) -> int:
    return run.last
