"""Places: which replica has what is not in the shared database: ephemeral sessions, and one-shots with a key.

The id of an ephemeral session ends with a word for the replica that made it. A key belongs to the replica that every
other one, too, finds for it, as long as the same ones are alive.
"""

from __future__ import annotations

import hashlib
import re

from app.storage.engine.membership import Membership
from app.storage.replicas import Replica

_WORD = re.compile(r"\.([0-9a-f]{8})")


def word_of(replica_id: str) -> str:
    """The end of the ids of what only this replica has."""
    return "." + replica_id[-8:]


class Places:
    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def of_session(self, session_id: str) -> Replica | None:
        """The other replica that made an ephemeral session; `None`: no living one, or it may be looked for here."""
        word = session_id[-9:]
        if _WORD.fullmatch(word) is None:
            return None
        return next((one for one in self._others() if word_of(one.id) == word), None)

    def of_key(self, agent: str, key: str) -> Replica | None:
        """The other replica that takes the one-shots of an idempotency key; `None`: this one does."""
        best = max(self._membership.members, key=lambda one: _weight(one.id, agent, key))
        return None if best.id == self._membership.replica.id else best

    def is_alive(self, replica: Replica) -> bool:
        return self._membership.is_alive(replica.id)

    def _others(self) -> list[Replica]:
        return [one for one in self._membership.members if one.id != self._membership.replica.id]


def _weight(replica_id: str, agent: str, key: str) -> bytes:
    return hashlib.blake2b(f"{replica_id}\0{agent}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
