"""Call tokens: a signed word that lets a program give the result of one deferred call, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac

_PREFIX = "call_"
_BYTES = 24


def make_token(secret: bytes, *, agent: str, session_id: str, created_ms: int, call_id: str) -> str:
    """The token of a call. `created_ms`: when its session was created, for ids of sessions can be chosen."""
    signed = "\0".join([agent, session_id, str(created_ms), call_id]).encode("utf-8", "surrogatepass")
    key = hmac.digest(secret, b"calls", hashlib.sha256)
    return _PREFIX + base64.urlsafe_b64encode(hmac.digest(key, signed, hashlib.sha256)[:_BYTES]).decode()


def is_token(given: str, secret: bytes, *, agent: str, session_id: str, created_ms: int, call_id: str) -> bool:
    made = make_token(secret, agent=agent, session_id=session_id, created_ms=created_ms, call_id=call_id)
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), made.encode())
