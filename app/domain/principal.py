"""Principal: who makes a request, and the rule that decides which sessions a principal may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    `id` owns the rows. `user_id` is the end user that the request names (`None` when it names none):
    a label below the principal, which selects memories and filters lists.
    """

    id: str
    kind: Literal["anonymous", "key"]
    user_id: str | None = None

    @property
    def effective_user(self) -> str:
        """The user a new session belongs to."""
        return self.user_id or self.id

    def may_see(self, owner: str, user_id: str) -> bool:
        """Whether the principal may see a row of `owner` and `user_id`.

        A principal sees its own rows only; a request that names a user sees the rows of that user only.
        """
        return self.id == owner and (self.user_id is None or self.user_id == user_id)
