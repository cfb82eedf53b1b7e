"""Tokens: JSON Web Tokens of the company's own login, as credentials (`auth.jwt`).

The principal is the issuer, the user its claim. A token speaks for its own user and names no other. A token that was
verified is known until it ends, so that a stream of requests costs one signature; when the issuer's keys change, all
are verified again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt

from app.auth.errors import BadToken, SignerUnknown
from app.auth.signers import ALGORITHMS, Signers
from app.auth.users import normalize
from app.config.server import JwtConfig
from app.domain.errors import InvalidRequest, Unauthenticated, Unavailable
from app.domain.principal import USUAL_SCOPES, Principal, Scope, scopes_of

LONGEST = 16_384
"""Characters of a token; what is longer is refused before it is read."""
SKEW_SECONDS = 60
"""How far the clock of the issuer may be from ours."""
MOST_KNOWN = 10_000
"""Verified tokens that are kept in mind; the oldest gives way."""
_WORDS = frozenset(scope.value for scope in Scope) - {Scope.SERVER}
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class Tokens:
    """Verifies tokens of one issuer."""

    def __init__(self, config: JwtConfig, signers: Signers, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self.signers = signers
        signers.on_change = self._known.clear
        self.owner = Principal(config.issuer, "token")
        """The principal of all tokens, without a user."""

    def find(self, token: str, hashed: bytes) -> Principal:
        """Who the token speaks for. `hashed`: its digest.

        Raises:
            SignerUnknown: the keys should be read again first.
            BadToken: it was not signed by the issuer, or is no token at all.
            Unauthenticated: it is the issuer's, and not good here (any more).
            Unavailable (`issuer_unavailable`): the keys of the issuer could not be read yet.
        """
        known = self._known.get(hashed)
        if known is not None:
            if self._clock() < known[1]:
                return known[0]
            del self._known[hashed]
        claims = self._verified(token)
        principal = self._principal(claims)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[hashed] = (principal, float(claims["exp"]) + SKEW_SECONDS)
        return principal

    def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST:
            raise BadToken(f"This token is longer than {LONGEST} characters.")
        try:
            header = jwt.get_unverified_header(token)
        except _MALFORMED:
            raise BadToken("This is no key of this server and no token.") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise BadToken(f"Tokens are signed with one of {', '.join(ALGORITHMS)}.")
        if not self.signers.knows(key_id):
            if self.signers.may_ask:
                raise SignerUnknown("The key of this token is not known yet.")
            if self.signers.is_empty:
                raise Unavailable(
                    "The keys of the issuer of tokens cannot be read; try again in a moment.",
                    reason="issuer_unavailable",
                )
            raise Unauthenticated("This token is signed with a key that its issuer does not publish.")
        key = self.signers.find(key_id, algorithm)
        if key is None:
            raise BadToken("The key that this token names is not one for its algorithm.")
        config = self._config
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=config.audience,
                issuer=config.issuer,
                leeway=SKEW_SECONDS,
                options={"require": ["exp", "iss", "aud", config.user_claim]},
            )
        except jwt.InvalidSignatureError:
            raise BadToken("The signature of this token is wrong.") from None
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"This token is not good here: {_in_words(error)}.") from None
        except _MALFORMED:
            raise BadToken("This is no token that can be read.") from None

    def _principal(self, claims: dict[str, Any]) -> Principal:
        config = self._config
        given = claims[config.user_claim]
        try:
            if not isinstance(given, str):
                raise InvalidRequest("not a text")
            user_id = normalize(given)
        except InvalidRequest:
            raise Unauthenticated(f"This token is not good here: {config.user_claim} is no name.") from None
        scopes = USUAL_SCOPES if config.scopes_claim is None else _scopes(claims.get(config.scopes_claim))
        sees_all = Scope.ADMIN in scopes
        return Principal(
            config.issuer,
            "token",
            user_id=None if sees_all else user_id,
            usual_user=user_id,
            scopes=scopes,
            own_user=user_id,
        )


def _scopes(claim: Any) -> frozenset[Scope]:
    """Of words that are ours, in a list or a text; others are somebody else's."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return scopes_of(word for word in words if isinstance(word, str) and word in _WORDS)


def _in_words(error: jwt.InvalidTokenError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired"
        case jwt.InvalidIssuerError():
            return "it is of another issuer"
        case jwt.InvalidAudienceError():
            return "it is for somebody else (aud)"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case jwt.MissingRequiredClaimError():
            return f"it has no {error.claim}"
    return "a claim is wrong"
