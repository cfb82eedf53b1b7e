"""Reading: gives one reader the events of a session from a cursor on, without gap or repeat.

Sources: the ring of newest runs while the reader keeps up, the tape of the open turn (merged frames) when it lags,
the journal for events that neither of them has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from app.domain.event import EventKind
from app.events.journal import Journal
from app.events.log import SessionLog
from app.events.run import Run
from app.events.tape import Tape


class Place(Protocol):
    """What a reader occupies of a limit."""

    def free(self) -> None: ...


class Reading:
    """A cursor with a wake-up, not a queue: its memory does not grow with the number of unread events.

    A context manager: inside the block it counts as a reader of the session. `cursor` is the number of the
    last event it returned. A reader that lags more than `lag_bytes` gets merged frames (unless `merge`
    is false). `gone` and `stopping` are set from outside: the reader left, the server shuts down.
    """

    __slots__ = (
        "_ends",
        "_journal",
        "_lag_bytes",
        "_merge",
        "_session_log",
        "_tape",
        "_waiter",
        "cursor",
        "from_start",
        "gone",
        "on_news",
        "place",
        "stopping",
    )

    def __init__(
        self,
        session_log: SessionLog,
        journal: Journal,
        *,
        after: int,
        lag_bytes: int,
        from_start: bool = False,
        merge: bool = True,
    ) -> None:
        self._session_log = session_log
        self._journal = journal
        self._lag_bytes = lag_bytes
        self._merge = merge
        self._tape: Tape | None = None
        self._ends: list[Run] = []
        self._waiter: asyncio.Future[None] | None = None
        self.cursor = after
        self.from_start = from_start
        self.on_news: Callable[[], bool] | None = None
        """Called first while the reader waits: returns true if it took the new events and `wait` need not return."""
        self.place: Place | None = None
        """Counts while the reader reads."""
        self.gone = False
        self.stopping = False

    def __enter__(self) -> Self:
        self._session_log.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session_log.leave(self)
        if self.place is not None:
            self.place.free()

    @property
    def log(self) -> SessionLog:
        return self._session_log

    @property
    def has_news(self) -> bool:
        return self.cursor < self._session_log.visible_seq

    def notify(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and not (self.on_news is not None and self.on_news()):
            waiter.set_result(None)

    def cut(self) -> None:
        """See `Listener.cut`."""
        self._ends = self._session_log.visible_ends(self.cursor, self._tape)

    def rest(self) -> None:
        """The client takes nothing for now: of a turn that is over keep no text, which the journal has."""
        tape = self._tape
        if tape is not None and tape.is_stored and tape.is_whole and tape is not self._session_log.tape:
            self._tape = tape.facts()  # with its end, which a terminate would still tell

    async def wait(self) -> None:
        """Wait for a call of `notify`; the caller checks what has changed."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take_text(self, turn_id: str | None) -> list[Run] | None:
        """Return the visible events above the cursor and advance it, if they are a little text only; else `None`.

        With `turn_id`: text of that turn only.
        """
        session_log = self._session_log
        if session_log.cut_at is not None or self.gone or self.stopping:
            return None
        runs = session_log.tail_from(self.cursor)
        if not runs:
            return None
        size = 0
        for run in runs:
            if run.kind is not EventKind.TEXT or (turn_id is not None and run.turn_id != turn_id):
                return None
            size += run.size
        if size > self._lag_bytes and len(runs) > 1:
            return None
        self._tape = session_log.tape
        return self._move(runs)

    def take(self) -> list[Run] | None:
        """Return visible events above the cursor and advance it.

        `[]`: there are none yet, `wait`. `None`: only the journal has them, `await replay()`.
        """
        session_log = self._session_log
        if session_log.tape is not None:
            self._tape = session_log.tape  # kept: a reader that lags behind the end of the turn still needs it
        if session_log.cut_at is not None and self.cursor < session_log.cut_at:
            self.cursor = session_log.cut_at
            if self._ends:
                ends, self._ends = self._ends, []
                return ends
        if self.cursor >= session_log.visible_seq:
            self._tape = session_log.tape  # that of a turn that is over, and read, is let go
            return []
        runs = session_log.tail_from(self.cursor)
        if runs == []:  # numbers that no event carries
            self.cursor = session_log.visible_seq
            return []
        if runs is not None and (len(runs) < 2 or sum([run.size for run in runs]) <= self._lag_bytes):
            return self._move(runs)
        if self._tape is not None and self._tape.covers(self.cursor):
            lags = self._merge and self._tape.size_after(self.cursor) > self._lag_bytes
            pieces = self._tape.read(self.cursor, self._lag_bytes, merge=lags, upto=session_log.visible_seq)
            if pieces:
                return self._move(pieces)
        if runs is not None:
            return self._move(_at_most(runs, self._lag_bytes))
        return None

    async def replay(self) -> list[Run]:
        """Return the next events from the journal; `[]` when all numbers up to the visible ones are unused."""
        session_log = self._session_log
        upto = session_log.visible_seq
        if session_log.tape is not None and session_log.tape.items:
            upto = min(upto, session_log.tape.items[0].first - 1)
        runs = await self._journal.replay(
            session_log.session.session_id, after=self.cursor, upto=upto, from_start=self.from_start
        )
        if not runs:
            self.cursor = max(self.cursor, upto)
            return []
        return self._move(runs)

    def _move(self, runs: list[Run]) -> list[Run]:
        if runs:
            if runs[0].first <= self.cursor < runs[0].last:
                runs[0] = runs[0].after(self.cursor)
            self.cursor = runs[-1].last
        return runs


def _at_most(runs: list[Run], limit_bytes: int) -> list[Run]:
    out: list[Run] = []
    for run in runs:
        if out and limit_bytes < run.size:
            break
        limit_bytes -= run.size
        out.append(run)
    return out
