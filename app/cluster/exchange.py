"""Exchange: the side of a wire that runs in the thread of its connection, between the event loop and the database.

The loop leaves commands, answers and questions in queues and wakes the thread, which empties them with one statement
for each kind, however much has gathered. What a lost connection leaves undone stays in its queue and is done after the
reconnect. The thread tells the loop what it learns in the order in which it learned it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.cluster import errors_codec
from app.domain.errors import Unavailable
from app.storage import commands
from app.storage.commands import Answer, Command, Withdrawn
from app.storage.connection import Connection
from app.storage.engine.announcer import HINTS, split_lines
from app.storage.engine.dialect import is_connection_lost
from app.storage.engine.notifications import Listener

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_BATCH = 256
"""Rows in one statement."""
MAX_TAKEN = 512
"""Commands that a replica carries out at a time; others wait in the table, and their senders' patience may end."""
MAX_REMEMBERED = 2_000
"""Commands that were taken, with their answers. A crash of Postgres may undo what happened to their rows last."""


@dataclass(slots=True, eq=False)
class Outgoing:
    """A command on its way into the database. The loop sets `is_wanted`, the thread `was_tried`."""

    command: Command
    is_wanted: bool = True
    was_tried: bool = False
    """Whether its row may have been stored."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is called on the loop."""

    stored: Callable[[Sequence[Outgoing], Sequence[Outgoing]], None]
    """The first are stored; the second are not, because their targets are not alive."""
    not_stored: Callable[[Sequence[Outgoing], str], None]
    """The database refused these, and why."""
    answered: Callable[[Sequence[Answer]], None]
    withdrawn: Callable[[Sequence[Withdrawn]], None]
    missed: Callable[[Collection[str]], None]
    """These commands were stored, and their rows are not there any more."""
    arrived: Callable[[Sequence[Command]], None]
    """Commands to carry out."""
    hinted: Callable[[Sequence[tuple[str, str]]], None]
    """Keys and values."""
    connected: Callable[[bool], None]
    """Whether it is for the first time."""


class _Queue(Generic[T]):
    """Filled on the loop, emptied in the thread. What `batch` returned stays in it until `done`."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._batch: list[T] = []

    def put(self, one: T) -> None:
        self._waiting.append(one)

    def batch(self) -> list[T]:
        while self._waiting and len(self._batch) < MAX_BATCH:
            self._batch.append(self._waiting.popleft())
        return self._batch

    def done(self) -> None:
        self._batch = []


class Exchange:
    """Used on one event loop; the methods of the second half run in the listener's thread."""

    _told: Told
    _loop: asyncio.AbstractEventLoop

    def __init__(self, url: str, *, replica_id: str, clock_ms: Callable[[], int]) -> None:
        self._replica_id = replica_id
        self._clock_ms = clock_ms
        self._commands: _Queue[Outgoing] = _Queue()
        self._answers: _Queue[Answer] = _Queue()
        self._withdrawals: _Queue[Outgoing] = _Queue()
        self._sought: Collection[str] | None = None
        self._sweep_before_ms: int | None = None
        self._takes = True
        self._delivered: set[str] = set()
        """Commands whose answers the loop has, and whose rows are left to delete."""
        self._taken: OrderedDict[str, Answer | None] = OrderedDict()
        """By command, oldest first: its answer, once that is stored."""
        self._running = 0
        self._has_more = False
        """Whether commands may wait that did not fit."""
        self._listener = Listener(url, replica_id=replica_id, listening=self)

    @property
    def is_connected(self) -> bool:
        return self._listener.is_connected

    def start(self, told: Told) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._listener.start()

    def send(self, outgoing: Outgoing) -> None:
        self._commands.put(outgoing)
        self._listener.wake()

    def answer(self, answer: Answer) -> None:
        self._answers.put(answer)
        self._listener.wake()

    def withdraw(self, outgoing: Outgoing) -> None:
        """Delete its row; `Told.withdrawn` says what was in it."""
        outgoing.is_wanted = False
        self._withdrawals.put(outgoing)
        self._listener.wake()

    def look(self, ids: Collection[str]) -> None:
        """Look for commands that were not taken, and for the answers to these."""
        self._sought = ids
        self._listener.wake()

    def sweep(self, *, before_ms: int) -> None:
        self._sweep_before_ms = before_ms
        self._listener.wake()

    def stop_taking(self) -> None:
        self._takes = False

    async def close(self) -> None:
        """Store the answers that are there, then end."""
        await asyncio.to_thread(self._listener.close)

    # -- the thread -----------------------------------------------------------------------------

    def connected(self, connection: Connection, *, is_first: bool) -> None:
        self._answer_again(commands.find_taken(connection, self._replica_id))
        self._take(connection)
        self._tell(self._told.connected, is_first)

    def notified(self, connection: Connection, payloads: list[str]) -> None:
        hints = [hint for payload in payloads if payload.startswith(HINTS) for hint in split_lines(payload)]
        if hints:
            self._tell(self._told.hinted, hints)
        answered = [payload for payload in payloads if payload.startswith(commands.ANSWERED)]
        if answered:
            ids = [name for payload in answered for name in payload.removeprefix(commands.ANSWERED).split(" ")]
            self._find(connection, ids)
        if commands.NEW in payloads:
            self._take(connection)
        self._delete_delivered(connection)

    def woken(self, connection: Connection) -> None:
        self._store_answers(connection)
        self._store_commands(connection)
        self._withdraw(connection)
        if (sought := self._sought) is not None:
            self._sought = None
            self._answer_again(commands.find_taken(connection, self._replica_id))
            self._take(connection)
            missing = set(sought) - self._find(connection, sought)
            if missing:
                self._tell(self._told.missed, missing)
        self._delete_delivered(connection)
        if (before_ms := self._sweep_before_ms) is not None:
            self._sweep_before_ms = None
            commands.sweep(connection, self._replica_id, before_ms=before_ms)

    def _store_commands(self, connection: Connection) -> None:
        while batch := self._commands.batch():
            wanted = [outgoing for outgoing in batch if outgoing.is_wanted]
            for outgoing in wanted:
                outgoing.was_tried = True
            if wanted:
                self._store_wanted(connection, wanted)
            self._commands.done()

    def _store_wanted(self, connection: Connection, wanted: list[Outgoing]) -> None:
        try:
            ids = commands.put(connection, [outgoing.command for outgoing in wanted], now=self._clock_ms())
        except Exception as error:
            if is_connection_lost(error):
                raise
            log.warning("commands to other replicas could not be stored", exc_info=error)
            why = str(getattr(error, "orig", error))
            self._tell(self._told.not_stored, wanted, why)
            return
        accepted = [outgoing for outgoing in wanted if outgoing.command.id in ids]
        refused = [outgoing for outgoing in wanted if outgoing.command.id not in ids]
        self._tell(self._told.stored, accepted, refused)

    def _withdraw(self, connection: Connection) -> None:
        while batch := self._withdrawals.batch():
            rows = []
            for outgoing in batch:
                name = outgoing.command.id
                # A row that is not there may have been carried out, unless it never was there.
                unknown = Withdrawn(name, was_taken=outgoing.was_tried, answer=None)
                rows.append(commands.withdraw(connection, name) or unknown)
            self._tell(self._told.withdrawn, rows)
            self._withdrawals.done()

    def _store_answers(self, connection: Connection) -> None:
        while batch := self._answers.batch():
            try:
                commands.answer(connection, batch, now=self._clock_ms())
            except Exception as error:
                if is_connection_lost(error):
                    raise
                log.warning("answers to other replicas could not be stored", exc_info=error)
            for answer in batch:
                self._running -= self._taken.get(answer.id, answer) is None
                self._taken[answer.id] = answer
            self._answers.done()
        if self._has_more:
            self._take(connection)

    def _take(self, connection: Connection) -> None:
        room = MAX_TAKEN - self._running
        self._has_more = room <= 0
        if room <= 0 or not self._takes:
            return
        taken = commands.take(connection, self._replica_id, limit=room, now=self._clock_ms())
        self._has_more = len(taken) == room
        new = [command for command in taken if command.id not in self._taken]
        self._answer_again([command.id for command in taken if command.id in self._taken])
        self._running += len(new)
        self._taken |= dict.fromkeys([command.id for command in new])
        self._forget_oldest()
        if new:
            self._tell(self._told.arrived, new)

    def _forget_oldest(self) -> None:
        while len(self._taken) > MAX_REMEMBERED:
            name, answer = self._taken.popitem(last=False)
            if answer is None:  # there are far fewer of these
                self._taken[name] = None

    def _answer_again(self, ids: Collection[str]) -> None:
        """Answer commands of ours whose rows say that they are not answered, unless they are being carried out.

        A crash of the database lost the answer, or a lost connection the command as it was taken.
        """
        for name in ids:
            if (answer := self._taken.get(name, _lost(name))) is not None:
                self._answers.put(answer)
                self._listener.wake()

    def _find(self, connection: Connection, ids: Collection[str]) -> set[str]:
        """Tell the loop the answers there are; the ids of the commands that have a row."""
        found = commands.find(connection, ids)
        answers = [answer for answer in found.values() if answer is not None]
        if answers:
            self._tell(self._told.answered, answers)
            self._delivered |= {answer.id for answer in answers}
        return set(found)

    def _delete_delivered(self, connection: Connection) -> None:
        if self._delivered:
            commands.delete(connection, self._delivered)
            self._delivered = set()

    def _tell(self, tell: Callable[..., None], *what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(tell, *what)


def _lost(command_id: str) -> Answer:
    sentence = "The connection to the database was lost while this was handed to another server; try again."
    return Answer(command_id, None, errors_codec.encode(Unavailable(sentence)))
