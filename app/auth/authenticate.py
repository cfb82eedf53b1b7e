"""Credentials become a Principal, or a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from app.domain.errors import Unauthenticated
from app.domain.principal import ANONYMOUS, Principal


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

    def authenticate(self, authorization: str | None) -> Principal:
        """`authorization` is that header. Raises Unauthenticated: no key, or a wrong one."""
        if not self._names:
            return self._anonymous
        scheme, _, token = (authorization or "").partition(" ")
        name = self._names.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
        if name is None:
            raise Unauthenticated("Send a valid key: Authorization: Bearer <key>.")
        return self._principals[name]

    def find(self, name: str) -> Principal | None:
        """The principal of this name, if it can make requests."""
        if not self._names:
            return self._anonymous if name == ANONYMOUS else None
        return self._principals.get(name)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
