"""Calls: commands that this replica sent and waits for, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from app.cluster import errors_codec
from app.cluster.exchange import Exchange, Outgoing
from app.domain.errors import Unavailable
from app.storage.commands import Answer, Command, Withdrawn

WITHDRAW_SECONDS = 1.0
"""How long a call whose time is up waits to learn whether its command was taken."""


class ReplicaGone(Exception):
    """The target of a command is not alive. The command will not be carried out any more.

    `was_taken`: whether it may have been carried out before; if false, it was certainly not.
    """

    def __init__(self, replica_id: str, *, was_taken: bool) -> None:
        super().__init__(f"The server {replica_id!r} is gone.")
        self.replica_id = replica_id
        self.was_taken = was_taken


@dataclass(slots=True, eq=False)
class _Call:
    outgoing: Outgoing
    answer: asyncio.Future[bytes]
    is_stored: bool = False
    verdict: Callable[[bool], Exception] | None = None
    """Set when the command is withdrawn: what to raise, given whether it was taken."""


class Calls:
    """The open ones. The callbacks of the second half are called by the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._open: dict[str, _Call] = {}

    async def call(self, command: Command, *, seconds: float) -> bytes:
        """Send the command and wait for its answer. See `Wire.call`."""
        call = _Call(Outgoing(command), asyncio.get_running_loop().create_future())
        self._open[command.id] = call
        try:
            self._exchange.send(call.outgoing)
            await asyncio.wait([call.answer], timeout=seconds)
            if not call.answer.done():
                self._withdraw(call, _too_late)
                await asyncio.wait([call.answer], timeout=WITHDRAW_SECONDS if self._exchange.is_connected else 0)
            if not call.answer.done():
                raise _too_late(call.outgoing.was_tried)
            return call.answer.result()
        finally:
            self._open.pop(command.id, None)
            call.outgoing.is_wanted = False
            if call.answer.done() and not call.answer.cancelled():
                call.answer.exception()  # a caller that was cancelled leaves no "never retrieved" behind

    def stored_ids(self) -> list[str]:
        """Commands whose rows are in the database and that are not withdrawn."""
        return [name for name, call in self._open.items() if call.is_stored and call.verdict is None]

    def targets(self) -> set[str]:
        return {call.outgoing.command.target for call in self._open.values()}

    def found_alive(self, asked: Collection[str], alive: Collection[str]) -> None:
        """Of the replicas `asked` about, only `alive` are: withdraw the commands that others were to carry out."""
        for call in self._open.values():
            target = call.outgoing.command.target
            if target in asked and target not in alive:
                self._withdraw(call, _gone(target))

    def close(self) -> None:
        for call in self._open.values():
            _fail(call, Unavailable("The server is shutting down.", reason="shutting_down"))

    def _withdraw(self, call: _Call, verdict: Callable[[bool], Exception]) -> None:
        if call.verdict is None:
            call.verdict = verdict
            self._exchange.withdraw(call.outgoing)

    # -- told by the exchange -------------------------------------------------------------------

    def stored(self, accepted: Sequence[Outgoing], refused: Sequence[Outgoing]) -> None:
        for outgoing in accepted:
            if (call := self._open.get(outgoing.command.id)) is not None:
                call.is_stored = True
        for outgoing in refused:
            if (call := self._open.get(outgoing.command.id)) is not None:
                _fail(call, ReplicaGone(outgoing.command.target, was_taken=False))

    def not_stored(self, failed: Sequence[Outgoing], why: str) -> None:
        for outgoing in failed:
            if (call := self._open.get(outgoing.command.id)) is not None:
                _fail(call, Unavailable(f"Another server could not be asked: {why}"))

    def answered(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if (call := self._open.get(answer.id)) is not None:
                _settle(call, answer)

    def withdrawn(self, rows: Sequence[Withdrawn]) -> None:
        for row in rows:
            call = self._open.get(row.id)
            if call is None:
                continue
            if row.answer is not None:
                _settle(call, row.answer)
            elif call.verdict is not None:
                _fail(call, call.verdict(row.was_taken))

    def missed(self, ids: Collection[str]) -> None:
        """Send these again: a crash of the database undid them, or they were erased with their session.

        A target that had taken one knows it and does not carry it out twice; of an erased session it says that.
        """
        for name in ids:
            call = self._open.get(name)
            if call is not None and call.verdict is None and not call.answer.done():
                call.is_stored = False
                self._exchange.send(call.outgoing)


def _settle(call: _Call, answer: Answer) -> None:
    if call.answer.done():
        return
    if answer.failure is not None:
        call.answer.set_exception(errors_codec.decode(answer.failure))
    else:
        call.answer.set_result(answer.answer or b"")


def _fail(call: _Call, error: Exception) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)


def _gone(replica_id: str) -> Callable[[bool], Exception]:
    return lambda was_taken: ReplicaGone(replica_id, was_taken=was_taken)


def _too_late(was_taken: bool) -> Exception:
    what = "it may still do what it was asked" if was_taken else "it was not asked"
    return Unavailable(f"The server that has this session did not answer in time ({what}); try again.")
