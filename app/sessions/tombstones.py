"""Tombstones: what stays of a terminated session. Two keyed hashes and the stop receipt; no title, no user, no text."""

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
    """Writes and looks up tombstones. `secret` keys the hashes, so that a stolen table tells nothing."""

    def __init__(self, database: Database, *, secret: bytes) -> None:
        self._database = database
        self._secret = secret
        self.fresh: dict[str, dict[str, Any]] = {}
        """Receipts by session id while the tombstone is not stored yet."""

    async def find(self, session_id: str) -> tuple[bytes, dict[str, Any]] | None:
        """(hash of the owner, receipt) if this id is dead. Raises Unavailable."""
        found = await self._database.read(partial(sessions.find_tombstone, id_hash=self._id_hash(session_id)))
        return None if found is None else (found[0], {"session_id": session_id, **found[1]})

    def is_owner(self, owner_hash: bytes, *, agent: str, principal: str, session_id: str) -> bool:
        return hmac.compare_digest(owner_hash, self._owner_hash(agent, principal, session_id))

    def refusal(self, session_id: str, receipt: dict[str, Any] | None = None) -> SessionOver:
        """What the owner of a dead session gets."""
        return session_over("terminated", session_id, receipt or self.fresh.get(session_id))

    def erasure(self, session: Session, receipt: StopReceipt) -> UnitOfWork:
        """Erase every row of the session and leave the tombstone."""
        unit = self.tombstone(session, receipt)
        sessions.add_erase(unit)
        return unit

    def tombstone(self, session: Session, receipt: StopReceipt) -> UnitOfWork:
        """The tombstone alone."""
        unit = UnitOfWork(session.session_id)
        sessions.add_tombstone(
            unit,
            id_hash=self._id_hash(session.session_id),
            owner_hash=self._owner_hash(session.agent, session.principal, session.session_id),
            agent=session.agent,
            receipt=_without_id(receipt),
        )
        return unit

    def amendment(self, session: Session, receipt: StopReceipt) -> UnitOfWork:
        """Complete the receipt."""
        unit = UnitOfWork(session.session_id)
        sessions.add_amend(unit, id_hash=self._id_hash(session.session_id), receipt=_without_id(receipt))
        return unit

    def _id_hash(self, session_id: str) -> bytes:
        return hmac.digest(self._secret, session_id.encode(), hashlib.sha256)

    def _owner_hash(self, agent: str, principal: str, session_id: str) -> bytes:
        return hmac.digest(self._secret, f"{agent}\0{principal}\0{session_id}".encode(), hashlib.sha256)


def receipt_json(receipt: StopReceipt) -> dict[str, object]:
    """The stop receipt as it goes over the wire; times in ISO 8601."""
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
    """The receipt as the tombstone has it: the client that asks for it names the id."""
    return {name: value for name, value in receipt_json(receipt).items() if name != "session_id"}
