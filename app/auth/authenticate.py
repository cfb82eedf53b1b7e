"""Credentials become a Principal, or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.auth.brake import Brake
from app.auth.digest import digest
from app.auth.errors import BadToken
from app.auth.made_keys import MadeKeys
from app.config.server import KeyConfig
from app.domain.errors import Unauthenticated
from app.domain.principal import ANONYMOUS, LOCAL, PLAIN_SCOPES, Principal, scopes_of

if TYPE_CHECKING:  # loads cryptography: only where tokens are configured
    from app.auth.tokens import Tokens


class Authenticator:
    """Bearer keys: those of the configuration (`auth.keys`) and those made at run time. Without any in the
    configuration, everybody is the anonymous principal."""

    def __init__(
        self,
        keys: Mapping[str, KeyConfig],
        brake: Brake | None = None,
        *,
        has_one_user: bool = False,
        made: MadeKeys | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """`brake`: slows down who guesses keys. `has_one_user`: requests that name no user are `LOCAL`'s.
        `made`: the keys that were made at run time, which count where there is authentication. `tokens`: verifies
        those of a login."""
        self._principals = {name: _principal(name, key) for name, key in keys.items()}
        # Looked up by hash: the time it takes tells nothing about how much of a guess was right.
        self._by_digest = {digest(key.secret): self._principals[name] for name, key in keys.items()}
        self._brake = brake
        self._made = made
        self._tokens = tokens
        self.is_open = not keys and tokens is None
        """Whether there is no authentication."""
        self._anonymous = Principal(ANONYMOUS, "anonymous", usual_user=LOCAL if has_one_user else None)

    def authenticate(self, authorization: str | None, address: str = "") -> Principal:
        """`authorization` is that header, `address` where the request comes from; empty if it comes from here.

        Raises:
            SignerUnknown: await `learn`, and ask once more.
            Unauthenticated: no key, a wrong one, or a token that is not good here.
            Unavailable (`issuer_unavailable`): the keys of the issuer of tokens could not be read yet.
            QuotaExceeded: too many wrong keys came from the address.
        """
        if self.is_open:
            return self._anonymous
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        brake = self._brake if address else None
        try:
            principal = None
            if scheme.lower() == "bearer":
                hashed = digest(token)
                principal = self._by_digest.get(hashed) or self._find(token, hashed)
        except BadToken:
            if brake is not None:
                brake.note_wrong(address)
            raise
        if principal is None:
            if brake is not None and token:
                brake.note_wrong(address)
            said = "This is no valid key. Send one of this server's" if token else "Send a key"
            raise Unauthenticated(f"{said}: Authorization: Bearer <key>.")
        if brake is not None:
            brake.note_right(address, principal.id)
        return principal

    def find(self, name: str) -> Principal | None:
        """The principal of this name, if it can make requests."""
        if self._tokens is not None and name == self._tokens.owner.id:
            return self._tokens.owner
        if self.is_open:
            return self._anonymous if name == ANONYMOUS else None
        return self._principals.get(name) or (self._made.named(name) if self._made is not None else None)

    def check(self, principal: Principal) -> None:
        """Raises Unauthenticated: the key that a connection was opened with has been revoked, or has expired."""
        if principal.key_id is not None and self._made is not None and not self._made.is_good(principal.key_id):
            raise Unauthenticated("The key of this connection is no longer valid.")

    def revocation(self, principal: Principal) -> asyncio.Future[None] | None:
        """Done when the key of the caller is revoked; `None`: it is no key that can be."""
        if principal.key_id is None or self._made is None:
            return None
        return self._made.revocation(principal.key_id)

    async def learn(self) -> None:
        """Read the keys of the issuer of tokens again, unless that was just done."""
        if self._tokens is not None:
            await self._tokens.signers.refresh()

    def _find(self, token: str, hashed: bytes) -> Principal | None:
        """Of a key that was made at run time, or of a token."""
        principal = self._made.find(hashed) if self._made is not None else None
        if principal is None and self._tokens is not None and token.count(".") == 2:
            return self._tokens.find(token, hashed)
        return principal


def _principal(name: str, key: KeyConfig) -> Principal:
    scopes = PLAIN_SCOPES if key.scopes is None else scopes_of(key.scopes)
    return Principal(name, "key", scopes=scopes, agents=None if key.agents is None else frozenset(key.agents))
