"""Passed on: a request whose body, and not its address, says that another server has what it is about."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Scope

PassOn = Callable[[str, bytes], ASGIApp | None]
"""(session id, body of the request, which was read) → what passes the request on; `None`: the session is not there."""
_KEY = "hector.pass_on"


def offer(scope: Scope, pass_on: PassOn) -> None:
    """Let the door of this request pass it on. Where one server is alone, nobody offers that."""
    scope[_KEY] = pass_on


def passed_on(scope: Scope, session_id: str, body: bytes) -> ASGIApp | None:
    """What passes the request on to the server that has this session in its memory; `None`: serve it here."""
    pass_on: PassOn | None = scope.get(_KEY)
    return pass_on(session_id, body) if pass_on is not None else None
