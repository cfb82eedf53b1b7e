"""Tombstones: the row that is kept of a terminated session: two keyed hashes and the stop receipt, no text."""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import Any

from app.domain.clock import iso
from app.domain.errors import SessionOver, session_over
from app.domain.session import Session, StopReceipt
from app.storage import sessions
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork


class Tombstones:
    """Writes and looks up tombstones. The hashes are keyed with `secret`, so that a stolen table reveals no ids."""

    def __init__(self, database: Database, *, secret: bytes) -> None:
        self._database = database
        self._secret = secret
        self.fresh: dict[str, dict[str, Any]] = {}
        """Receipts by session id, until the tombstones are stored."""

    async def find(self, session_id: str) -> tuple[bytes, dict[str, Any]] | None:
        """(hash of the owner, receipt) if a session with this id was terminated. Raises Unavailable."""
        found = await self._database.read(partial(sessions.find_tombstone, id_hash=self._id_hash(session_id)))
        return None if found is None else (found[0], {"session_id": session_id, **found[1]})

    def is_owner(self, owner_hash: bytes, *, agent: str, principal: str, session_id: str) -> bool:
        return hmac.compare_digest(owner_hash, self._owner_hash(agent, principal, session_id))

    def refusal(self, session_id: str, receipt: dict[str, Any] | None = None) -> SessionOver:
        """The error that the owner of a terminated session gets."""
        return session_over("terminated", session_id, receipt or self.fresh.get(session_id))

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
