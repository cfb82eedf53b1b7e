"""What the doors never show as it is: refusals of tokens that the authenticator looks at once more."""

from __future__ import annotations

from app.domain.errors import Unauthenticated


class SignerUnknown(Unauthenticated):
    """The issuer's keys have to be read before the token can be judged (`Authenticator.learn`)."""


class BadToken(Unauthenticated):
    """Not signed by the issuer: counts as a guess."""
