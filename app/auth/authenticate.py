"""Credentials become a Principal, or a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from app.domain.errors import InvalidRequest, Unauthenticated
from app.domain.principal import ANONYMOUS, Principal

MAX_USER_ID = 256


class Authenticator:
    """Static Bearer keys (`auth.keys`); without any, everybody is the anonymous principal."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        # Looked up by hash: the time it takes tells nothing about how much of a guess was right.
        self._names = {_digest(secret): name for name, secret in keys.items()}
        self._principals = {name: Principal(name, "key") for name in keys}
        self._anonymous = Principal(ANONYMOUS, "anonymous")

    @property
    def is_open(self) -> bool:
        """Whether no key is asked."""
        return not self._names

    def authenticate(self, authorization: str | None, user_id: str | None) -> Principal:
        """`authorization` is that header, `user_id` the end user the request names.

        Raises:
            Unauthenticated: no key, or a wrong one.
            InvalidRequest: a user id that is empty or longer than 256 characters.
        """
        principal = self._anonymous
        if self._names:
            scheme, _, token = (authorization or "").partition(" ")
            name = self._names.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
            if name is None:
                raise Unauthenticated("Send a valid key: Authorization: Bearer <key>.")
            principal = self._principals[name]
        if user_id is None:
            return principal
        return with_user(principal, user_id)


def with_user(principal: Principal, user_id: str) -> Principal:
    """The same caller, on behalf of an end user."""
    if not 0 < len(user_id) <= MAX_USER_ID:
        raise InvalidRequest(f"user_id must have 1 to {MAX_USER_ID} characters.")
    return Principal(principal.id, principal.kind, user_id)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
