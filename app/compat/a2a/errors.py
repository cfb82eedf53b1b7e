"""Errors over A2A: the error tree in the words of its specification. `data` has our own reason and details."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from a2a.utils import errors as a2a

from app.domain import errors
from app.domain.errors import HectorError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_BY_REASON: dict[str, type[a2a.A2AError]] = {
    "turn_not_found": a2a.TaskNotFoundError,
    "session_not_found": a2a.TaskNotFoundError,
    "session_exists": a2a.InvalidParamsError,
    "invalid_json": a2a.JSONParseError,
}
# The first entry whose class fits.
_BY_CLASS: tuple[tuple[type[HectorError], type[a2a.A2AError]], ...] = (
    (errors.InvalidRequest, a2a.InvalidParamsError),
    (errors.NotFound, a2a.InvalidParamsError),
    (errors.Forbidden, a2a.InvalidRequestError),
    (errors.TooLarge, a2a.InvalidRequestError),
    (errors.Conflict, a2a.UnsupportedOperationError),
    (errors.SessionOver, a2a.UnsupportedOperationError),
    (errors.ApprovalExpired, a2a.UnsupportedOperationError),
)


def to_a2a(error: HectorError) -> a2a.A2AError:
    """The A2A error for one of ours; what its specification has no word for is an internal error that says why."""
    kind = _BY_REASON.get(error.reason)
    if kind is None:
        kind = next((theirs for ours, theirs in _BY_CLASS if isinstance(error, ours)), a2a.InternalError)
    return kind(error.message, data={"reason": error.reason, **_plain(error.details)})


def fault() -> a2a.A2AError:
    """A fault of ours, which the log describes."""
    return a2a.InternalError("Something went wrong on our side; the log has the details.", data={"reason": "internal"})


def translated(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """A coroutine function that raises A2A errors only."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except HectorError as error:
            raise to_a2a(error) from error
        except a2a.A2AError:
            raise
        except Exception as error:  # the edge of a request
            log.exception("a request over A2A failed by our fault")
            raise fault() from error

    return call


def translated_stream(function: Callable[P, AsyncGenerator[T]]) -> Callable[P, AsyncGenerator[T]]:
    """An async generator function that raises A2A errors only."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        inner = function(*args, **kwargs)
        try:
            async for item in inner:
                yield item
        except HectorError as error:
            raise to_a2a(error) from error
        except a2a.A2AError:
            raise
        except Exception as error:  # the edge of a request
            log.exception("a stream over A2A failed by our fault")
            raise fault() from error
        finally:
            await inner.aclose()

    return call


def _plain(details: dict[str, object]) -> dict[str, Any]:
    """Details that fit into the metadata of a `google.rpc.ErrorInfo`: text only."""
    return {
        name: value if isinstance(value, str) else str(value) for name, value in details.items() if value is not None
    }
