"""Scopes: the one place that decides who sees which memory.

Every stored memory names its audience, a digest of who may see it. A recall searches the audiences of the asking
session, and no query of the store runs without audiences. A memory keeps the audience it was stored for, also after
the configuration changed: to narrow or widen it, it has to be stored again.
"""

from __future__ import annotations

import hashlib

from app.domain.memory import MemoryKind, Owner, Scope
from app.domain.principal import ANONYMOUS


def effective(scope: Scope, owner: Owner) -> Scope:
    """The scope that applies: anonymous users cannot be told apart, so their sessions share nothing."""
    if owner.user_id == ANONYMOUS and scope in (Scope.CONVERSATIONAL, Scope.SUMMARIES_ONLY):
        return Scope.SESSION
    return scope


def may_store(scope: Scope, kind: MemoryKind) -> bool:
    """Whether a memory of that kind is stored under the scope."""
    return scope is not Scope.SUMMARIES_ONLY or kind != "message"


def audience_of(owner: Owner, scope: Scope) -> str:
    """The audience of a memory that the owner stores under `scope`."""
    match effective(scope, owner):
        case Scope.SESSION:
            return session_audience(owner.session_id)
        case Scope.ALL:
            return _digest("a", owner.agent)
        case Scope.CONVERSATIONAL | Scope.SUMMARIES_ONLY:
            return _digest("u", owner.agent, owner.principal, owner.user_id)


_WIDTH = {Scope.SESSION: 0, Scope.CONVERSATIONAL: 1, Scope.SUMMARIES_ONLY: 1, Scope.ALL: 2}
_SHOWN = {"s": Scope.SESSION, "u": Scope.CONVERSATIONAL, "a": Scope.ALL}


def is_within(asked: Scope, allowed: Scope) -> bool:
    """Whether `asked` is no wider than `allowed`."""
    return _WIDTH[asked] <= _WIDTH[allowed]


def narrower(one: Scope, other: Scope) -> Scope:
    return one if is_within(one, other) else other


def scope_of(audience: str) -> Scope:
    """The scope that an audience stands for."""
    return _SHOWN[audience[0]]


def audiences_seen(owner: Owner, scope: Scope) -> tuple[str, ...]:
    """The audiences that a session recalls from: its own, and every wider one up to `scope`."""
    seen = [session_audience(owner.session_id)]
    acting = effective(scope, owner)
    if acting is not Scope.SESSION and owner.user_id != ANONYMOUS:
        seen.append(audience_of(owner, Scope.CONVERSATIONAL))
    if acting is Scope.ALL:
        seen.append(audience_of(owner, Scope.ALL))
    return tuple(seen)


def session_audience(session_id: str) -> str:
    return _digest("s", session_id)


def _digest(kind: str, *parts: str) -> str:
    """A digest of letters and digits, because it is a word of the full text index. Lengths separate the parts."""
    content = "".join([f"{len(part)}:{part}" for part in parts])
    return kind + hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
