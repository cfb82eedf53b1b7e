"""Parameters of routes: the runtime, the caller, the agent and session of the path, numbers held to their range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.types import Receive

from app.agents import Agent
from app.domain.principal import Principal
from app.doors.schemas import fields
from app.events.log import SessionLog
from app.runtime import Runtime

AgentPath = Annotated[fields.AgentName, Path()]
SessionPath = Annotated[fields.SessionId, Path()]
StorePath = Annotated[fields.StoreName, Path()]


def runtime_of(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def principal_of(request: Request) -> Principal:
    principal: Principal = request.scope["principal"]
    return principal


async def session_of(request: Request) -> SessionLog:
    """The session of the path, if it is this caller's. Raises NotFound or SessionOver."""
    runtime = runtime_of(request)
    caller = principal_of(request)
    agent = runtime.roster.get(request.path_params["agent"], caller)
    return await runtime.sessions.get(caller, agent.name, request.path_params["session_id"])


async def gone(receive: Receive) -> None:
    """Return when the client has left. Only after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


# Coroutines, because FastAPI sends every other dependency to a thread.


async def _find_runtime(request: Request) -> Runtime:
    return runtime_of(request)


async def _find_caller(request: Request) -> Principal:
    return principal_of(request)


async def _find_agent(request: Request, agent: AgentPath) -> Agent:
    return runtime_of(request).roster.get(agent, principal_of(request))


async def _find_session(request: Request, agent: AgentPath, session_id: SessionPath) -> SessionLog:
    return await session_of(request)


AppRuntime = Annotated[Runtime, Depends(_find_runtime)]
Caller = Annotated[Principal, Depends(_find_caller)]
NamedAgent = Annotated[Agent, Depends(_find_agent)]
"""The agent of the path; 404 if there is none."""
NamedSession = Annotated[SessionLog, Depends(_find_session)]
"""The session of the path, if it is this caller's; else 404 or 410."""


def clamp(least: int, most: int) -> Callable[[Any], int]:
    """A validator: a whole number, held to `least` … `most`."""

    def clamped(given: Any) -> int:
        try:
            return min(max(int(given), least), most)
        except ValueError:
            raise PydanticCustomError(
                "whole_number", "must be a whole number, not {given}", {"given": repr(str(given)[:40])}
            ) from None

    return clamped


Limit = Annotated[
    int,
    Query(
        description="Entries of a page; held to 1 … 200.",
        json_schema_extra={"minimum": 1, "maximum": 200},
        examples=[20],
    ),
    BeforeValidator(clamp(1, 200)),
]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
