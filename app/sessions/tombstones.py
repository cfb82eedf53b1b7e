"""Tombstones: the row that is kept of a terminated session: two keyed hashes and the stop receipt, no text."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from app.domain.clock import iso
from app.domain.errors import SessionOver, session_over
from app.domain.session import Session, StopReceipt
from app.events.run import Run
from app.storage import sessions
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork


class Pending:
    """A termination that was ordered: stored, or to be stored again and again until it is."""

    def __init__(self, session: Session, store: Callable[[], Awaitable[None]]) -> None:
        """`store`: one attempt. It raises Unavailable when nothing was stored."""
        self.session = session
        self.receipt = StopReceipt(session.session_id, None, session.last_seq, 0, None, 0)
        self.facts: Sequence[Run] = ()
        """The last events of the session."""
        self.is_stored = False
        self._store = store
        self._attempt: asyncio.Future[None] | None = None

    async def attempt(self) -> None:
        """Return once the termination is stored; joins an attempt that is under way.

        Raises:
            Unavailable: it is not stored.
        """
        if self._attempt is None:
            self._attempt = asyncio.ensure_future(self._store())
            self._attempt.add_done_callback(self._attempted)
        await asyncio.shield(self._attempt)

    def _attempted(self, attempt: asyncio.Future[None]) -> None:
        """A success stays, so that it is found by those who ask later."""
        if attempt.cancelled() or attempt.exception() is not None:
            self._attempt = None
        else:
            self.is_stored = True
            self._store = _nothing  # it holds the session, which is to be let go


async def _nothing() -> None:
    """Everything is stored."""


class Tombstones:
    """Writes and looks up tombstones. The hashes are keyed with `secret`, so that a stolen table reveals no ids."""

    def __init__(self, database: Database, *, secret: bytes) -> None:
        self._database = database
        self._secret = secret
        self.pending: dict[str, Pending] = {}
        """Terminations by session id, until they are stored and their receipts are complete."""

    @property
    def unstored(self) -> list[str]:
        """The ids of the sessions that were terminated and are not erased yet."""
        return [session_id for session_id, pending in self.pending.items() if not pending.is_stored]

    async def find(self, session_id: str) -> tuple[bytes, dict[str, Any]] | None:
        """(hash of the owner, receipt) if a session with this id was terminated. Raises Unavailable."""
        found = await self._database.read(partial(sessions.find_tombstone, id_hash=self._id_hash(session_id)))
        return None if found is None else (found[0], {"session_id": session_id, **found[1]})

    async def receipt_of(self, session_id: str) -> dict[str, Any] | None:
        """The receipt of a session with this id that was terminated. Raises Unavailable."""
        found = await self.find(session_id)
        return None if found is None else found[1]

    async def agent_of(self, session_id: str) -> str | None:
        """The agent of a session with this id that was terminated. Raises Unavailable."""
        return await self._database.read(partial(sessions.agent_of_tombstone, id_hash=self._id_hash(session_id)))

    def is_owner(self, owner_hash: bytes, *, agent: str, principal: str, session_id: str) -> bool:
        return hmac.compare_digest(owner_hash, self._owner_hash(agent, principal, session_id))

    async def refusal(self, session_id: str) -> SessionOver:
        """The error that the owner of a terminated session gets, with the receipt.

        It says that the session never comes back, so it is given only once that is stored.

        Raises:
            Unavailable: it could not be stored yet.
        """
        pending = self.pending.get(session_id)
        if pending is not None:
            await pending.attempt()
            return session_over("terminated", session_id, receipt_json(pending.receipt))
        found = await self.find(session_id)
        return session_over("terminated", session_id, found[1] if found is not None else None)

    def make_erasure(self, session: Session, receipt: StopReceipt) -> UnitOfWork:
        """A unit that deletes every row of the session and inserts its tombstone."""
        unit = self.make_tombstone(session, receipt)
        sessions.add_erase(unit)
        return unit

    def make_tombstone(self, session: Session, receipt: StopReceipt) -> UnitOfWork:
        """A unit that inserts the tombstone only."""
        unit = UnitOfWork(session.session_id)
        sessions.add_tombstone(
            unit,
            id_hash=self._id_hash(session.session_id),
            owner_hash=self._owner_hash(session.agent, session.principal, session.session_id),
            agent=session.agent,
            receipt=_without_id(receipt),
        )
        return unit

    def make_amendment(self, session: Session, receipt: StopReceipt) -> UnitOfWork:
        """A unit that completes the receipt."""
        unit = UnitOfWork(session.session_id)
        sessions.add_amend(unit, id_hash=self._id_hash(session.session_id), receipt=_without_id(receipt))
        return unit

    def _id_hash(self, session_id: str) -> bytes:
        return hmac.digest(self._secret, session_id.encode(), hashlib.sha256)

    def _owner_hash(self, agent: str, principal: str, session_id: str) -> bytes:
        return hmac.digest(self._secret, f"{agent}\0{principal}\0{session_id}".encode(), hashlib.sha256)


def receipt_json(receipt: StopReceipt) -> dict[str, object]:
    """The stop receipt as clients get it; times in ISO 8601."""
    return {
        "session_id": receipt.session_id,
        "status": "terminated",
        "turn_id": receipt.turn_id,
        "last_seq": receipt.last_seq,
        "ordered_at": iso(receipt.ordered_ms),
        "upstream_closed_at": iso(receipt.upstream_closed_ms),
        "tokens_after_order": receipt.tokens_after_order,
    }


def _without_id(receipt: StopReceipt) -> dict[str, object]:
    """The receipt as the tombstone stores it; the id is added from the request."""
    return {name: value for name, value in receipt_json(receipt).items() if name != "session_id"}
