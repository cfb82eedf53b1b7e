"""Callers of doors that speak no HTTP: who makes a remote procedure call, from its metadata and its peer."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from urllib.parse import unquote

from app.auth.authenticate import Authenticator
from app.auth.users import with_named_user
from app.domain.errors import InvalidRequest
from app.domain.principal import Principal

caller: ContextVar[Principal] = ContextVar("caller")
"""The principal of the call that this task carries out; set before any servicer is asked."""

_USER_KEYS = frozenset({"x-user-id", "x-user-id-bin"})


def admit(authenticator: Authenticator, metadata: Iterable[tuple[str, str | bytes]], peer: str) -> Principal:
    """The principal of `authorization: Bearer KEY`, on behalf of the user that `x-user-id` names.

    `x-user-id-bin` is the same name as UTF-8 bytes. `peer` is gRPC's word, such as `ipv4:127.0.0.1:50123`.

    Raises:
        InvalidRequest: one of them stands twice, or they name two users.
        Unauthenticated, QuotaExceeded: as over HTTP.
    """
    metadata = list(metadata)
    authorization: str | None = None
    for key, value in metadata:
        if key == "authorization":
            if authorization is not None:
                raise InvalidRequest("authorization stands twice in the metadata.", reason="invalid_header")
            authorization = value if isinstance(value, str) else value.decode("latin-1")
    return on_behalf_of_named(authenticator.authenticate(authorization, address_of(peer)), metadata)


def on_behalf_of_named(principal: Principal, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
    """The principal on behalf of the user that the metadata name, if they name one. Raises InvalidRequest."""
    users = [value if isinstance(value, bytes) else value.encode() for key, value in metadata if key in _USER_KEYS]
    return with_named_user(principal, users, b"") if users else principal


def address_of(peer: str) -> str:
    """The address in gRPC's word for a peer: `ipv6:%5B::1%5D:50123` → `::1`; `unix:` is this machine: empty."""
    family, _, rest = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].strip("[]")
