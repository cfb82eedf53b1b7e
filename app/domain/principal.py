"""Principal: who asks; and the one rule of who may see whose session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request.

    `id` owns the rows. `user_id` is the end user named by the request (`None` when it named none):
    a label below the principal, which picks memories and filters lists.
    """

    id: str
    kind: Literal["anonymous", "key"]
    user_id: str | None = None

    @property
    def effective_user(self) -> str:
        """The user a new session belongs to."""
        return self.user_id or self.id

    def may_see(self, owner: str, user_id: str) -> bool:
        """Its own rows; of those, not the ones of a different user than the request names.

        The key itself, naming nobody, sees all of its own.
        """
        return self.id == owner and (self.user_id is None or self.user_id == user_id)
