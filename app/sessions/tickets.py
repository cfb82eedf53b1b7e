"""Tickets: words in an address that open the streams of one session, for browsers, whose EventSource sends no key.

A ticket is signed, not stored: with a secret of the database, so it survives a restart, and every server on the same
database knows it. It says until when it is good, what it is good for, and by the time of creation which session it was
made for; the signature covers agent and session, and is checked before anything is looked up. The session's id stands
behind it, for the address of a socket, which names none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntFlag

from app.auth.authenticate import Authenticator
from app.auth.call_tokens import is_token
from app.domain.errors import Forbidden, Unauthenticated, session_over
from app.domain.principal import Principal
from app.domain.session import Session, SessionStatus
from app.events.live import LiveSessions
from app.sessions.tombstones import Tombstones

_PREFIX = "ticket_"
_FORM = struct.Struct(">BQQ")
"""What it is good for, until when, and when its session was created: milliseconds since the epoch."""
_SIGNATURE_BYTES = 16


class Right(IntFlag):
    """What a ticket is good for; each word of `can` on the wire is one."""

    READ = 1
    """Following the session."""
    CHAT = 2
    """Sending a message on the stream of its turn."""


@dataclass(frozen=True, slots=True)
class Ticket:
    word: str
    expires_ms: int


class Tickets:
    """Issues tickets, and finds out what one opens."""

    def __init__(
        self,
        live: LiveSessions,
        tombstones: Tombstones,
        authenticator: Authenticator,
        *,
        secret: bytes,
        clock_ms: Callable[[], int],
    ) -> None:
        self._live = live
        self._tombstones = tombstones
        self._authenticator = authenticator
        self._key = secret
        self._secret = hmac.digest(secret, b"tickets", hashlib.sha256)
        self._clock_ms = clock_ms

    def issue(self, session: Session, *, seconds: int, rights: Collection[Right]) -> Ticket:
        """A ticket for the streams of the session."""
        expires_ms = self._clock_ms() + seconds * 1000
        allowed = Right.READ
        for right in rights:
            allowed |= right
        form = _FORM.pack(allowed, expires_ms, session.created_ms)
        signature = self._sign(form, session.agent, session.session_id)
        word = base64.urlsafe_b64encode(form + signature + session.session_id.encode()).decode()
        return Ticket(_PREFIX + word.rstrip("="), expires_ms)

    @staticmethod
    def session_of(word: str) -> str:
        """The session that the ticket says it is for, which `admit` has to confirm. Raises Unauthenticated."""
        session_id = _parts_of(word)[2]
        if not session_id:
            raise _invalid()
        return session_id

    async def admit(self, word: str, *, agent: str, session_id: str, right: Right) -> Principal:
        """The owner of the session on whose streams the ticket is used, on behalf of the session's user.

        Raises:
            Unauthenticated: no ticket for this session, one that has expired, or the owner's key was removed.
            SessionOver (`session_terminated`): a ticket for this session, which was terminated.
            Forbidden (`forbidden_ticket`): it does not have the right.
            Unavailable: the database does not answer.
        """
        form, signature, named = _parts_of(word)
        is_signed = hmac.compare_digest(signature, self._sign(form, agent, session_id))
        if not is_signed or named not in ("", session_id):
            raise _invalid()
        allowed, expires_ms, created_ms = _FORM.unpack(form)
        if self._clock_ms() >= expires_ms:
            raise Unauthenticated("This ticket has expired; ask for a new one: POST …/sessions/{id}/tickets.")
        session_log = self._live.warm(session_id) or await self._live.open(session_id)
        if session_log is None:
            tombstone = await self._tombstones.find(session_id)
            raise session_over("terminated", session_id, tombstone[1]) if tombstone is not None else _invalid()
        if session_log.over is SessionStatus.TERMINATED:
            raise await self._tombstones.refusal(session_id)
        session = session_log.session
        owner = self._authenticator.find(session.principal)
        if owner is None or session.created_ms != created_ms:
            raise _invalid()
        if not right & allowed:
            raise Forbidden(
                'This ticket is for reading; ask for one that can: ["read", "chat"].', reason="forbidden_ticket"
            )
        return Principal(owner.id, owner.kind, session.user_id, key_id=owner.key_id)

    async def admit_call(self, word: str, *, agent: str, session_id: str, call_id: str) -> Principal:
        """The owner of the session whose call's token this is. Raises Unauthenticated, SessionOver, Unavailable."""
        session_log = self._live.warm(session_id) or await self._live.open(session_id)
        if session_log is None or session_log.over is SessionStatus.TERMINATED:
            raise _not_of_call()
        session = session_log.session
        is_right = session.agent == agent and is_token(
            word, self._key, agent=agent, session_id=session_id, created_ms=session.created_ms, call_id=call_id
        )
        owner = self._authenticator.find(session.principal)
        if not is_right or owner is None:
            raise _not_of_call()
        return Principal(owner.id, owner.kind, session.user_id, key_id=owner.key_id)

    def _sign(self, form: bytes, agent: str, session_id: str) -> bytes:
        signed = form + f"{agent}\0{session_id}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, signed, hashlib.sha256)[:_SIGNATURE_BYTES]


def _parts_of(word: str) -> tuple[bytes, bytes, str]:
    """What the ticket says, its signature, and its session ("" in tickets of older releases).

    Raises: Unauthenticated for what is no ticket.
    """
    encoded = word.removeprefix(_PREFIX)
    size = _FORM.size + _SIGNATURE_BYTES
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        session_id = raw[size:].decode()
    except (binascii.Error, ValueError):
        raw, session_id = b"", ""
    if not word.startswith(_PREFIX) or len(raw) < size:
        raise _invalid()
    return raw[: _FORM.size], raw[_FORM.size : size], session_id


def _not_of_call() -> Unauthenticated:
    return Unauthenticated("This token does not give the result of this call.")


def _invalid() -> Unauthenticated:
    return Unauthenticated("This ticket does not open this stream; ask for one: POST …/sessions/{id}/tickets.")
