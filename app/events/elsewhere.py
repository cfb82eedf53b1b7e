"""Elsewhere: a warm session that another server owns. What changes it is carried out by its owner.

A method that changes a session, its first argument, says so by `@at_owner`. On a server that works alone this costs
one look at an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from app.events.log import SessionLog

P = ParamSpec("P")
R = TypeVar("R")
Part = TypeVar("Part")


class OwnerGone(Exception):
    """The owner died before it answered. What it was asked may have happened."""


class Elsewhere(Protocol):
    """What another server does for a session that it owns (`SessionLog.elsewhere`)."""

    @property
    def is_degraded(self) -> bool:
        """Whether its events come late at the moment, because the tail is away."""
        ...

    async def call(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the owner's `operation` (the qualified name of a method) returns; raises what it raises.

        When this returns, the warm copy here shows what the operation did.

        Raises:
            OwnerGone, Unavailable.
        """
        ...

    async def turn(self, turn_id: str) -> Any:
        """The turn, as the owner has told of it: what app/turns has for an open one. Raises Unavailable."""
        ...

    async def settled(self) -> None:
        """Return when the session has an owner again; that may be this server. Raises Unavailable."""
        ...


def at_owner(
    method: Callable[Concatenate[Part, SessionLog, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Part, SessionLog, P], Coroutine[Any, Any, R]]:
    """Have the session's owner carry out the method, whose arguments and result can be told by their annotations.

    If the owner dies meanwhile, the next one is asked again: the method must bear being carried out twice.
    """

    @wraps(method)
    async def routed(self: Part, session_log: SessionLog, *args: P.args, **kwargs: P.kwargs) -> R:
        while (elsewhere := session_log.elsewhere) is not None:
            try:
                found: R = await elsewhere.call(method.__qualname__, args, kwargs)
            except OwnerGone:
                await elsewhere.settled()
            else:
                return found
        return await method(self, session_log, *args, **kwargs)

    routed.at_owner = method  # type: ignore[attr-defined]
    return routed  # type: ignore[return-value]  # `self` and the session are given by place
