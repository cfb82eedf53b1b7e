"""Errors as bytes: what a handler raises on one replica is raised on another as the same kind, with the same words."""

from __future__ import annotations

import orjson

from app.domain import errors
from app.domain.errors import HectorError

_KINDS: dict[str, type[HectorError]] = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HectorError) and kind is not HectorError
}


def encode(error: HectorError) -> bytes:
    """Of a subclass that another room defines, the kind of the error tree that it is."""
    kind = next((base.__name__ for base in type(error).__mro__ if _KINDS.get(base.__name__) is base), "Internal")
    told = {"kind": kind, "reason": error.reason, "message": error.message, "details": error.details}
    if (seconds := getattr(error, "retry_after_seconds", None)) is not None:
        told["retry_after_seconds"] = seconds
    return orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS)


def decode(encoded: bytes) -> HectorError:
    """A kind that this release does not know is an `Internal` with its reason."""
    told = orjson.loads(encoded)
    kind = _KINDS.get(told["kind"], errors.Internal)
    error = kind(told["message"], reason=told["reason"], details=told["details"])
    if isinstance(error, errors.QuotaExceeded | errors.Unavailable) and "retry_after_seconds" in told:
        error.retry_after_seconds = told["retry_after_seconds"]
    return error
