"""Credentials become a Principal, or a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from app.auth.brake import Brake
from app.domain.errors import Unauthenticated
from app.domain.principal import ANONYMOUS, LOCAL, Principal


class Authenticator:
    """Static Bearer keys (`auth.keys`); without any, everybody is the anonymous principal."""

    def __init__(self, keys: Mapping[str, str], brake: Brake | None = None, *, has_one_user: bool = False) -> None:
        """`brake`: slows down who guesses keys. `has_one_user`: requests that name no user are `LOCAL`'s."""
        # Looked up by hash: the time it takes tells nothing about how much of a guess was right.
        self._names = {_digest(secret): name for name, secret in keys.items()}
        self._principals = {name: Principal(name, "key") for name in keys}
        self._brake = brake
        self._anonymous = Principal(ANONYMOUS, "anonymous", usual_user=LOCAL if has_one_user else None)

    @property
    def is_open(self) -> bool:
        """Whether there is no authentication."""
        return not self._names

    def authenticate(self, authorization: str | None, address: str = "") -> Principal:
        """`authorization` is that header, `address` where the request comes from; empty if it comes from here.

        Raises:
            Unauthenticated: no key, or a wrong one.
            QuotaExceeded: too many wrong keys came from the address.
        """
        if not self._names:
            return self._anonymous
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        name = self._names.get(_digest(token)) if scheme.lower() == "bearer" else None
        brake = self._brake if address else None
        if name is None:
            if brake is not None and token:
                brake.note_wrong(address)
            said = "This is no valid key. Send one of this server's" if token else "Send a key"
            raise Unauthenticated(f"{said}: Authorization: Bearer <key>.")
        if brake is not None:
            brake.note_right(address, name)
        return self._principals[name]

    def find(self, name: str) -> Principal | None:
        """The principal of this name, if it can make requests."""
        if not self._names:
            return self._anonymous if name == ANONYMOUS else None
        return self._principals.get(name)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
