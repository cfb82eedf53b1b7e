"""Wire: how the replicas of one service talk to each other, over the database that they share.

A *command* is a row for one replica, and a NOTIFY that tells it to look; its answer goes back likewise. The rows are
the truth: every second, and after a reconnect, a replica looks for what it was not told. A *hint* is a NOTIFY alone.
The wire has connections of its own: on the writer's, a cancel would wait behind the batches of other sessions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from app.cluster.calls import Calls, ReplicaGone
from app.cluster.exchange import Exchange, Told
from app.cluster.service import Handler, Service
from app.domain.errors import HectorError, Unavailable
from app.domain.ids import NewId
from app.observability.tasks import Tasks
from app.storage import commands, replicas
from app.storage.commands import Command
from app.storage.engine.announcer import Announcer
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import WriteFailed

__all__ = ["ReplicaGone", "Wire"]

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a replica looks for commands, answers and dead targets without being told."""
SWEEP_SECONDS = 10.0
KEEP_MS = 60_000
"""How long a command may stay in the table."""
OPEN_SECONDS = 10.0
MAX_HINT_BYTES = 1_000


class Wire:
    """One replica's end. Its row must be in `replicas` before the first `call`, and stay until `close`."""

    def __init__(
        self, database: Database, url: str, *, replica_id: str, new_id: NewId, clock_ms: Callable[[], int]
    ) -> None:
        """`database`: where it is read who is alive. `url`: the same database, for the wire's own connections."""
        self.on_hint: Callable[[str, str], None] = _ignore_hint
        """Called on the loop with key and value of a hint."""
        self.on_reconnected: Callable[[], None] = _ignore
        """Called on the loop when hints may have been lost: whoever relies on them must look for itself."""
        self.on_call: Callable[[], None] = _ignore
        """Called for each command that is sent."""
        self._database = database
        self._replica_id = replica_id
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._announcer = Announcer(url)
        self._exchange = Exchange(url, replica_id=replica_id, clock_ms=clock_ms)
        self._calls = Calls(self._exchange)
        self._service = Service()
        self._tasks = Tasks()
        self._is_connected = asyncio.Event()
        self._is_closed = False

    async def open(self) -> None:
        """Listen. From now on handlers are called: `serve` comes before.

        Raises:
            Unavailable: the database does not answer within 10 s.
        """
        told = Told(
            stored=self._calls.stored,
            not_stored=self._calls.not_stored,
            answered=self._calls.answered,
            withdrawn=self._calls.withdrawn,
            missed=self._calls.missed,
            arrived=self._carry_out,
            hinted=self._hear,
            connected=self._note_connected,
        )
        self._exchange.start(told)
        self._announcer.start()
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._is_connected.wait()
        except TimeoutError:
            await self.close()
            raise Unavailable("The database does not answer; the wire to the other servers cannot be opened.") from None
        self._tasks.start(self._watch(), name="wire")

    async def close(self) -> None:
        """Carry out what was taken, for at most 2 s; refuse the rest, here and there; end the connections.

        What was not taken stays for its sender, which learns that this replica is gone when its row in `replicas` is.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._exchange.stop_taking()
        await self._service.close()
        self._calls.close()
        await self._tasks.cancel()
        await asyncio.gather(asyncio.to_thread(self._announcer.close), self._exchange.close())

    # -- commands -------------------------------------------------------------------------------

    def serve(self, operation: str, handler: Handler) -> None:
        """Carry out the commands of this operation: `handler(session_id, body)` → answer.

        Handlers run beside each other, but those of one session one after another, oldest command first: one that
        waits for something long delays a cancel. A HectorError that a handler raises is raised by `call` there.
        """
        self._service.serve(operation, handler)

    async def call(self, replica_id: str, operation: str, session_id: str, body: bytes, *, seconds: float) -> bytes:
        """Have another replica carry out a command, at most once; its answer.

        `session_id`: empty for a command about no session. When the caller is cancelled, the command may still be
        carried out.

        Raises:
            HectorError: the handler raised it.
            ReplicaGone: the target is not alive, or died while we waited; `was_taken` says whether it may have
                carried out the command. Noticed within a second of the end of its lease.
            Unavailable: no answer within `seconds`, for example because the database is away. The message says whether
                the command was taken; if not, it will not be.
        """
        if self._is_closed:
            raise Unavailable("The server is shutting down.", reason="shutting_down")
        self.on_call()
        command = Command(self._new_id("cmd"), replica_id, self._replica_id, operation, session_id, body)
        return await self._calls.call(command, seconds=seconds)

    async def tell_all(self, operation: str, body: bytes, *, seconds: float) -> None:
        """Have every other live replica carry out a command about no session; returns when all have answered.

        A replica that dies meanwhile counts as answered: it is never again one of the service.

        Raises:
            Unavailable: a replica failed, or did not answer within `seconds`; the others may have carried it out.
        """
        alive = await self._database.read(commands.find_live_replicas)
        told = [self._tell_one(other, operation, body, seconds) for other in alive - {self._replica_id}]
        failures = [failure for failure in await asyncio.gather(*told) if failure is not None]
        if failures:
            raise Unavailable(f"Not all servers could be told: {failures[0].message}") from failures[0]

    async def _tell_one(self, replica_id: str, operation: str, body: bytes, seconds: float) -> HectorError | None:
        while True:
            try:
                await self.call(replica_id, operation, "", body, seconds=seconds)
            except ReplicaGone:
                try:
                    if await self._is_dead(replica_id):
                        log.info("the server %s died before it could be told of %s", replica_id, operation)
                        return None
                except (WriteFailed, Unavailable) as error:
                    return Unavailable(f"It is not known whether the server {replica_id} is alive: {error}")
            except HectorError as error:
                return error
            else:
                return None

    async def _is_dead(self, replica_id: str) -> bool:
        """Make sure of it: one that was silent for longer than its lease, and is not buried, may wake up untold."""
        await self._database.submit(replicas.make_burial(replica_id))
        return not await self._database.read(partial(replicas.is_member, replica_id=replica_id))

    def _carry_out(self, arrived: Sequence[Command]) -> None:
        self._service.carry_out(arrived, self._exchange.answer)

    # -- hints ----------------------------------------------------------------------------------

    def hint(self, replica_ids: Iterable[str], payload: str) -> None:
        """Tell replicas something that they could also find out themselves, within about 15 ms; it may get lost.

        `payload`: `key value` in one line of at most 1,000 bytes; of several under one key that wait to be sent, only
        the last is.

        Raises:
            ValueError: the payload is not of that form.
        """
        key, space, value = payload.partition(" ")
        if not space or "\n" in payload or len(payload.encode()) > MAX_HINT_BYTES:
            raise ValueError(f"A hint is 'key value' in one line of at most {MAX_HINT_BYTES} bytes.")
        self._announcer.hint(replica_ids, key, value)

    def _hear(self, hints: Sequence[tuple[str, str]]) -> None:
        for key, value in hints:
            self.on_hint(key, value)

    # -- the watch ------------------------------------------------------------------------------

    def _note_connected(self, is_first: bool) -> None:
        self._is_connected.set()
        if not is_first:
            self._exchange.look(self._calls.stored_ids())
            self.on_reconnected()

    async def _watch(self) -> None:
        until_sweep = SWEEP_SECONDS
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._exchange.look(self._calls.stored_ids())
            await self._look_at_targets()
            until_sweep -= LOOK_SECONDS
            if until_sweep <= 0:
                until_sweep = SWEEP_SECONDS
                self._exchange.sweep(before_ms=self._clock_ms() - KEEP_MS)

    async def _look_at_targets(self) -> None:
        targets = self._calls.targets()
        if not targets:
            return
        try:
            alive = await self._database.read(commands.find_live_replicas)
        except Unavailable:
            log.debug("it could not be read which servers are alive")
            return
        self._calls.found_alive(targets, alive)


def _ignore() -> None:
    """Nobody relies on hints."""


def _ignore_hint(key: str, value: str) -> None:
    """Nobody relies on hints."""
