"""Principal: who makes a request, and the rule that decides which sessions a principal may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

ANONYMOUS = "anonymous"
LOCAL = "local"
"""The one user of a server that nobody but this machine reaches, and that asks for no key."""


class Scope(StrEnum):
    """What a credential may do; each word but the last is one that keys and tokens say."""

    CHAT = "chat"
    """Create sessions, send messages, cancel, end and terminate."""
    READ = "read"
    """Read sessions, follow them, list agents, search documents."""
    APPROVE = "approve"
    """Answer calls of tools that wait: approve, refuse, give a result."""
    MEMORY = "memory"
    """Read, write and delete what agents remember."""
    ADMIN = "admin"
    """All of the principal's, whoever the user is: usage, forgetting, agents that it creates, reindexing."""
    SERVER = "server"
    """The server itself: keys. Comes with `admin` where that is said; a plain key of the configuration lacks it."""


USUAL_SCOPES = frozenset({Scope.CHAT, Scope.READ, Scope.APPROVE, Scope.MEMORY})
"""Of a key that says none."""
PLAIN_SCOPES = frozenset(set(Scope) - {Scope.SERVER})
"""Of a key of the configuration in its plain form, and of callers without authentication: all but `/admin`."""


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes that these words grant. Raises ValueError: one is no scope."""
    found = frozenset(Scope(word) for word in words)
    if Scope.SERVER in found:
        raise ValueError("server")
    return found | {Scope.SERVER} if Scope.ADMIN in found else found


def is_name(user_id: str) -> bool:
    """Whether it is what somebody is called, not what we call whoever gives no name."""
    return user_id not in (ANONYMOUS, LOCAL)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    `id` owns the rows. `user_id` is the end user that the request names (`None` when it names none):
    a label below the principal, which selects memories and filters lists. `usual_user` is who it is for when the
    request names none; `None`: the principal itself. `own_user`: the only user that a request may name; `None`: any.
    `agents`: names of the agents that it may know of; `None`: all that are for callers.
    `key_id`: the key made at run time that the request has.
    """

    id: str
    kind: Literal["anonymous", "key", "token"]
    user_id: str | None = None
    usual_user: str | None = None
    scopes: frozenset[Scope] = PLAIN_SCOPES
    agents: frozenset[str] | None = None
    own_user: str | None = None
    key_id: str | None = None

    @property
    def effective_user(self) -> str:
        """The user a new session belongs to."""
        return self.user_id or self.usual_user or self.id

    def for_user(self, user_id: str) -> Principal:
        """The same caller, on behalf of this end user."""
        return Principal(
            self.id, self.kind, user_id, self.usual_user, self.scopes, self.agents, self.own_user, self.key_id
        )

    def may_see(self, owner: str, user_id: str) -> bool:
        """Whether the principal may see a row of `owner` and `user_id`.

        A principal sees its own rows only; a request that names a user sees the rows of that user only.
        """
        return self.id == owner and (self.user_id is None or self.user_id == user_id)
