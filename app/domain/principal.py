"""Principal: who makes a request, and the rule that decides which sessions a principal may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ANONYMOUS = "anonymous"
LOCAL = "local"
"""The one user of a server that nobody but this machine reaches, and that asks for no key."""


def is_name(user_id: str) -> bool:
    """Whether it is what somebody is called, not what we call whoever gives no name."""
    return user_id not in (ANONYMOUS, LOCAL)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    `id` owns the rows. `user_id` is the end user that the request names (`None` when it names none):
    a label below the principal, which selects memories and filters lists. `usual_user` is who it is for when the
    request names none; `None`: the principal itself.
    """

    id: str
    kind: Literal["anonymous", "key"]
    user_id: str | None = None
    usual_user: str | None = None

    @property
    def effective_user(self) -> str:
        """The user a new session belongs to."""
        return self.user_id or self.usual_user or self.id

    def may_see(self, owner: str, user_id: str) -> bool:
        """Whether the principal may see a row of `owner` and `user_id`.

        A principal sees its own rows only; a request that names a user sees the rows of that user only.
        """
        return self.id == owner and (self.user_id is None or self.user_id == user_id)
