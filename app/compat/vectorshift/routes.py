"""The addresses of the door. Success is always answered with JSON: the client reads a body without asking for one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from app.compat.vectorshift.agents import configured_json, created_json, entry_of, given_of
from app.compat.vectorshift.run import run_agent
from app.compat.vectorshift.socket import Connection
from app.domain.errors import HectorError, InvalidRequest, NotFound, agent_not_found
from app.doors.answers import answer
from app.doors.dependencies import principal_of
from app.doors.error_table import status_of
from app.doors.json_route import read_body, read_json
from app.runtime import Runtime

Call = Callable[[Request], Awaitable[dict[str, Any]]]
MOST_LISTED = 1000


def routes(runtime: Runtime) -> list[BaseRoute]:
    """Under `compat.vectorshift.prefix`."""
    door, prefix = _Door(runtime), runtime.config.compat.vectorshift.prefix
    found: list[tuple[str, str, Call]] = [
        ("POST", "/agent", door.create),
        ("GET", "/agent", door.get),
        ("GET", "/agents", door.get_page),
        ("DELETE", "/agent/{agent}", door.delete),
        ("POST", "/update/agent/{agent}", door.update),
        ("POST", "/agent/{agent}/run", door.run),
    ]
    return [
        *[Route(prefix + path, _answered(call), methods=[method]) for method, path, call in found],
        WebSocketRoute(f"{prefix}/ws/session", door.connect),
    ]


def _answered(call: Call) -> Callable[[Request], Awaitable[Response]]:
    """The client shows its user the text under `error`."""

    async def endpoint(request: Request) -> Response:
        try:
            return answer(await call(request))
        except HectorError as error:
            told = {"error": error.message, "reason": error.reason, "request_id": request.scope.get("request_id", "")}
            return answer(told, status_of(error)[0])

    return endpoint


class _Door:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def create(self, request: Request) -> dict[str, Any]:
        given, config = await self._body(request), self._runtime.config
        created = await self._runtime.created_agents.create(
            principal_of(request),
            entry_of(config, given),
            given_of(given),
            most=config.compat.vectorshift.max_agents,
        )
        return {"id": created.agent_id, "status": "success"}

    async def get(self, request: Request) -> dict[str, Any]:
        """`?id=` or `?name=`."""
        agent_id, name = request.query_params.get("id"), request.query_params.get("name")
        if agent_id is None and name is None:
            raise InvalidRequest("id or name: one of them is needed.")
        for shown in self._visible(request):
            if shown["_id"] == agent_id or (agent_id is None and name in (shown["name"], shown["_id"])):
                return {"object": shown}
        raise agent_not_found(str(agent_id or name)[:200])

    async def get_page(self, request: Request) -> dict[str, Any]:
        """`?limit=&offset=`: the caller's own, oldest first, then those of the configuration."""
        limit, offset = _number(request, "limit", 50), _number(request, "offset", 0)
        return {"objects": self._visible(request)[offset : offset + min(limit, MOST_LISTED)], "object_ids": []}

    async def update(self, request: Request) -> dict[str, Any]:
        given, agent_id = await self._body(request), self._owned(request)
        entry = entry_of(self._runtime.config, given)
        await self._runtime.created_agents.update(principal_of(request), agent_id, entry, given_of(given))
        return {"id": agent_id, "status": "success"}

    async def delete(self, request: Request) -> dict[str, Any]:
        agent_id = self._owned(request)
        await self._runtime.created_agents.delete(principal_of(request), agent_id)
        return {"id": agent_id, "status": "success"}

    async def run(self, request: Request) -> dict[str, Any]:
        agent = self._runtime.roster.get(request.path_params["agent"], principal_of(request))
        return await run_agent(self._runtime, request, agent.name)

    async def connect(self, websocket: WebSocket) -> None:
        await Connection(self._runtime, websocket).run()

    def _visible(self, request: Request) -> list[dict[str, Any]]:
        runtime, caller = self._runtime, principal_of(request)
        configured = [agent for agent in runtime.roster.listed(caller) if agent.owner is None]
        return [
            *[created_json(created) for created in runtime.created_agents.list(caller)],
            *[configured_json(runtime.config, agent) for agent in configured],
        ]

    def _owned(self, request: Request) -> str:
        """The id of the path, of an agent that the caller may change. Raises NotFound, InvalidRequest."""
        agent_id, caller = request.path_params["agent"], principal_of(request)
        try:
            return self._runtime.created_agents.get(caller, agent_id).agent_id
        except NotFound:
            self._runtime.roster.get(agent_id, caller)
            sentence = f"The agent {agent_id!r} stands in the configuration of the server; change it there."
            raise InvalidRequest(sentence) from None

    async def _body(self, request: Request) -> dict[str, Any]:
        return read_json(await read_body(request.scope, request.receive, self._runtime.config.server.max_body))


def _number(request: Request, name: str, usual: int) -> int:
    try:
        return max(int(request.query_params.get(name, usual)), 0)
    except ValueError:
        raise InvalidRequest(f"{name}: must be a whole number.") from None
