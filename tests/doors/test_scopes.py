"""The table of scopes has a line for every route, method and operation of every door: one without a line fails."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from a2a.server.request_handlers.request_handler import RequestHandler
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.cli.rpc_port import load_services
from app.compat.a2a.door import A2ADoor
from app.compat.a2a.handler import CALLER
from app.compat.a2a.service import Caller as A2ACaller
from app.compat.mcp_server.calls import Calls
from app.compat.mcp_server.serving import _server
from app.compat.vectorshift.socket import Connection
from app.config.root import Config
from app.domain.errors import Forbidden, NotFound
from app.domain.principal import Principal, Scope, scopes_of
from app.doors.scopes import OPERATIONS, RouteScopes, check_operation, check_rpc, find_rpc
from app.main import create_app
from app.observability.tasks import Tasks
from app.routers.websocket.commands import Commands
from app.runtime import Runtime

NOBODY = Principal("nobody", "key", scopes=frozenset())


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    """With every door open, and those with a prefix at one of their own."""
    config = Config.model_validate(
        {
            "storage": {"url": f"sqlite:///{tmp_path}/hector.db"},
            "llms": {"demo": {"type": "scripted"}},
            "embedders": {"default": {"type": "none"}},
            "compat": {"openai": {"prefix": "/open/ai"}, "vectorshift": {"enabled": True, "prefix": "/vs"}},
        }
    )
    opened = Runtime(config)
    await opened.open()
    yield opened
    await opened.close()


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    for context in iter_route_contexts(app.routes):
        route: Any = context.original_route
        path = getattr(context, "path", None) or route.path
        if type(route).__name__ == "Mount":
            yield "GET", f"{path}/file.js"
        elif type(route).__name__ == "WebSocketRoute":
            yield "WEBSOCKET", path
        else:
            yield from ((method, path) for method in sorted(context.methods or ()))


async def test_every_route_of_http_and_websocket_has_a_scope(runtime: Runtime) -> None:
    table = RouteScopes(runtime.config.compat)
    found = set(routes_of(create_app(runtime)))
    assert ("POST", "/vs/agent/{agent}/run") in found
    assert ("WEBSOCKET", "/vs/ws/session") in found
    assert ("DELETE", "/mcp") in found
    found.remove(("WEBSOCKET", "/{path:path}"))  # which refuses every handshake
    assert {(method, path) for method, path in found if table.find(method, path) is None} == set()


async def test_every_method_of_grpc_has_a_scope(runtime: Runtime) -> None:
    names: list[str] = []

    class Recorder:
        def add_generic_rpc_handlers(self, handlers: Any) -> None:
            for handler in handlers:
                names.extend(handler._method_handlers)

        def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
            names.extend(f"/{service}/{method}" for method in handlers)

    recorder: Any = Recorder()
    for register in (await load_services(runtime, A2ADoor(runtime)))[1]:
        register(recorder, runtime, Tasks())
    assert "/lf.a2a.v1.A2AService/SendMessage" in names
    assert "/hector.v1.A2AService/StreamMessage" in names
    assert [name for name in names if find_rpc(name) is None] == []


async def test_every_operation_of_a_body_has_a_scope(runtime: Runtime) -> None:
    socket: Any = SimpleNamespace(scope={"principal": NOBODY})
    caller: Any = SimpleNamespace(session_id=None)
    frames = Commands(runtime, socket, caller, debug=False, top_only=False)._carry_out
    found = {("websocket", kind) for kind in frames}
    found |= {("vectorshift", kind) for kind in (*Connection(runtime, socket)._handlers, "terminate_session")}
    served = _server(runtime, Calls(runtime))._request_handlers
    found |= {("mcp", method) for method in served if method not in ("ping", "initialize", "server/discover")}
    assert ("mcp", "tasks/cancel") in found
    known = {(door, operation) for door, operation in OPERATIONS if door in ("websocket", "vectorshift", "mcp")}
    assert found == known


async def test_every_operation_of_a2a_refuses_a_caller_without_scopes(runtime: Runtime) -> None:
    handler, caller = await A2ADoor(runtime).handler(), A2ACaller(NOBODY, "assistant", None)
    context: Any = SimpleNamespace(state={CALLER: caller})
    names = [name for name in dir(RequestHandler) if name.startswith("on_")]
    assert len(names) > 9
    for name in names:
        if name == "on_get_extended_agent_card":  # there is none
            continue
        operation: Any = inspect.unwrap(getattr(type(handler), name))
        params = inspect.signature(operation, eval_str=True).parameters["params"].annotation()
        made = operation(handler, params, context)
        with pytest.raises(Forbidden) as refused:
            await (anext(made) if inspect.isasyncgen(made) else made)
        assert refused.value.reason == "missing_scope", name


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/agents/a/sessions/import", Scope.CHAT),
        ("GET", "/agents/a/sessions/import", Scope.READ),
        ("HEAD", "/agents/a/sessions/s/messages/stream", Scope.READ),
        ("POST", "/agents/a/sessions/s/calls/c/result", Scope.APPROVE),
        ("GET", "/agents/a/memories/export", Scope.MEMORY),
        ("GET", "/v1/models/a/b", Scope.READ),
        ("GET", "/usage", Scope.ADMIN),
    ],
)
def test_the_table_is_read_as_the_router_reads_its_routes(method: str, path: str, scope: Scope) -> None:
    table = RouteScopes(Config().compat)
    assert table.find(method, path) is scope
    with pytest.raises(Forbidden) as refused:
        table.check(Principal("a", "key", scopes=frozenset(set(Scope) - {scope})), method, path)
    assert refused.value.details == {"scope": scope.value}
    table.check(Principal("a", "key", scopes=frozenset({scope})), method, path)


def test_what_is_not_in_the_table_is_not_there() -> None:
    table = RouteScopes(Config().compat)
    for path in ("/nothing", "/agents/a/sessions//messages", "/agents/a/sessions/s/nothing", "/v1"):
        with pytest.raises(NotFound):
            table.check(NOBODY, "GET", path)
    table.check(NOBODY, "PUT", "/agents")  # 405 is the router's answer


def test_what_is_said_and_what_is_granted() -> None:
    assert scopes_of(["chat"]) == {Scope.CHAT}
    assert scopes_of(["admin"]) == {Scope.ADMIN, Scope.SERVER}
    for word in ("server", "write", ""):
        with pytest.raises(ValueError, match=r"server|valid Scope"):
            scopes_of([word])


def test_operations_that_need_nothing_are_for_all() -> None:
    check_operation(NOBODY, "websocket", "ping")
    check_operation(NOBODY, "websocket", "dance")  # the door says that there is none
    check_rpc(NOBODY, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    with pytest.raises(Forbidden):
        check_rpc(NOBODY, "/hector.v1.A2AService/SendMessage")
