"""HTTP: cards, JSON-RPC and REST. The SDK's dispatchers parse and answer; streams of version 1.0 are ours (sse.py)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import orjson
from a2a.server.context import ServerCallContext
from a2a.server.jsonrpc_models import JSONParseError
from a2a.server.request_handlers.response_helpers import agent_card_to_dict, build_error_response
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_routes import create_rest_routes
from a2a.types import SendMessageRequest, SubscribeToTaskRequest
from a2a.utils.constants import VERSION_HEADER
from a2a.utils.error_handlers import build_rest_error_payload
from a2a.utils.errors import A2AError, ContentTypeNotSupportedError, InvalidRequestError
from google.protobuf.json_format import ParseDict, ParseError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from app.agents import Agent
from app.compat.a2a.cards import make_card
from app.compat.a2a.handler import CALLER, Handler
from app.compat.a2a.service import Caller, Followed
from app.compat.a2a.sse import TaskStream
from app.domain.errors import InvalidRequest, NotFound
from app.doors.answers import GUARDED, answer
from app.doors.dependencies import gone
from app.doors.json_route import read_body, read_json
from app.runtime import Runtime

REST = "/agents/{agent}/a2a/rest"
_SUBSCRIBE = re.compile(r"tasks/([^/]+):subscribe")
_VERSION_1 = re.compile(r"\s*1(?:\.\d+)*\s*")
Follow = Callable[[ServerCallContext], Awaitable[Followed]]


class Http:
    """The addresses of A2A, each an ASGI application."""

    def __init__(self, runtime: Runtime, handler: Handler) -> None:
        self._runtime = runtime
        self.handler = handler
        self._callers = _Callers()
        self._since = formatdate(usegmt=True)
        self._rpc = JsonRpcDispatcher(self.handler, self._callers, enable_v0_3_compat=True)
        made = create_rest_routes(self.handler, self._callers, enable_v0_3_compat=True, path_prefix=REST)
        # Its Mount("/{tenant}") would take every address of two segments.
        self._rest = Router([route for route in made if isinstance(route, Route)], redirect_slashes=False)

    # -- cards ----------------------------------------------------------------------------------

    async def card(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The card of a public agent; nobody has to say who asks."""
        name: str = scope["path_params"]["agent"]
        agent = next((agent for agent in self._runtime.roster.listed(None) if agent.name == name), None)
        if agent is None:
            raise NotFound(f"There is no agent {name!r} with a public card.", reason="agent_not_found")
        await self._answer_card(agent, scope, receive, send)

    async def only_card(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The card of the server's one agent, for clients that know the server only."""
        agents = self._runtime.roster.listed(None)
        if len(agents) != 1:
            raise NotFound(
                "This server has several agents; each has a card at /agents/{agent}/.well-known/agent-card.json.",
                reason="agent_not_found",
            )
        await self._answer_card(agents[0], scope, receive, send)

    async def _answer_card(self, agent: Agent, scope: Scope, receive: Receive, send: Send) -> None:
        request, config = Request(scope), self._runtime.config
        base_url = (config.server.public_url or str(request.base_url)).rstrip("/")
        card = make_card(agent, config, base_url=base_url, grpc_port=self._runtime.grpc_port)
        body = orjson.dumps(agent_card_to_dict(card))
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {name.decode(): value.decode() for name, value in GUARDED}
        headers |= {"etag": tag, "cache-control": "public, max-age=60", "last-modified": self._since}
        is_known = tag in request.headers.get("if-none-match", "")
        response = Response(status_code=304, headers=headers)
        if not is_known:
            response = Response(body, media_type="application/json", headers=headers)
        await response(scope, receive, send)

    # -- JSON-RPC -------------------------------------------------------------------------------

    async def jsonrpc(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._runtime.roster.get(scope["path_params"]["agent"], scope["principal"])
        body = await read_body(scope, receive, self._runtime.config.server.max_body)
        try:
            given = read_json(body)
        except InvalidRequest as error:
            kind: type[Any] = JSONParseError if error.reason == "invalid_json" else InvalidRequestError
            if error.reason == "invalid_json" and _announces_other(scope):
                kind = ContentTypeNotSupportedError
            await answer(build_error_response(None, kind(message=error.message)))(scope, receive, send)
            return
        request = Request(scope, _replay(orjson.dumps(given), receive))
        if (follow := self._rpc_stream(given, request)) is not None:
            request_id = orjson.dumps(given["id"])
            wrap = (b'{"jsonrpc":"2.0","id":%b,"result":' % request_id, b"}")
            await self._stream(
                follow,
                request,
                wrap,
                lambda error: build_error_response(given["id"], error),
                lambda shown: answer(shown),
                receive,
                send,
            )
            return
        response = await self._rpc.handle_requests(request)
        await response(scope, receive, send)

    def _rpc_stream(self, given: dict[str, Any], request: Request) -> Follow | None:
        """What follows a task, if that is asked, rightly, in version 1; all else is the SDK's."""
        params, request_id = given.get("params"), given.get("id")
        if given.get("jsonrpc") != "2.0" or not isinstance(params, dict) or not _speaks_1(request):
            return None
        if isinstance(request_id, bool) or not isinstance(request_id, int | str):
            return None
        try:
            if given.get("method") == "SendStreamingMessage":
                message = ParseDict(params, SendMessageRequest(), ignore_unknown_fields=True)
                return lambda context: self.handler.follow_new(message, context)
            if given.get("method") == "SubscribeToTask":
                task = ParseDict(params, SubscribeToTaskRequest(), ignore_unknown_fields=True)
                return lambda context: self.handler.follow_known(task, context)
        except ParseError:
            return None
        return None

    # -- REST -----------------------------------------------------------------------------------

    async def rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._runtime.roster.get(scope["path_params"]["agent"], scope["principal"])
        body = await read_body(scope, receive, self._runtime.config.server.max_body)
        try:
            given = read_json(body)
        except InvalidRequest as error:
            await _rest_error(build_rest_error_payload(InvalidRequestError(error.message)))(scope, receive, send)
            return
        request = Request(scope, _replay(orjson.dumps(given), receive))
        if (follow := self._rest_stream(given, request)) is not None:
            await self._stream(follow, request, (b"", b""), build_rest_error_payload, _rest_error, receive, send)
            return
        await self._rest(scope, request.receive, send)

    def _rest_stream(self, given: dict[str, Any], request: Request) -> Follow | None:
        path: str = request.path_params["path"]
        if not _speaks_1(request):
            return None
        if request.method == "POST" and path == "message:stream":
            try:
                message = ParseDict(given, SendMessageRequest(), ignore_unknown_fields=True)
            except ParseError:
                return None
            return lambda context: self.handler.follow_new(message, context)
        if request.method in ("GET", "POST") and (found := _SUBSCRIBE.fullmatch(path)):
            task = SubscribeToTaskRequest(id=found[1])
            return lambda context: self.handler.follow_known(task, context)
        return None

    async def _stream(
        self,
        follow: Follow,
        request: Request,
        wrap: tuple[bytes, bytes],
        show_error: Callable[[A2AError], Any],
        refuse: Callable[[Any], Response],
        receive: Receive,
        send: Send,
    ) -> None:
        """Follow a task; what is refused before its first state is no stream."""
        try:
            followed = await follow(self._callers.build(request))
        except A2AError as error:
            await refuse(show_error(error))(request.scope, receive, send)
            return
        with followed:
            await TaskStream(self.handler.service, followed, wrap, show_error)(request.scope, receive, send)


class _Callers(ServerCallContextBuilder):
    """Says who makes a request, as the guard found out, and which agent its address names."""

    def build(self, request: Request) -> ServerCallContext:
        receive = request.receive
        caller = Caller(request.scope["principal"], request.path_params["agent"], lambda: gone(receive))
        return ServerCallContext(state={"headers": dict(request.headers), CALLER: caller})


def _speaks_1(request: Request) -> bool:
    """Whether the request is of version 1; without a word it is of 0.3."""
    return _VERSION_1.fullmatch(request.headers.get(VERSION_HEADER, "")) is not None


def _announces_other(scope: Scope) -> bool:
    """Whether a request says itself that its body is no JSON. What is JSON is read whatever it says."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    return bool(types) and b"json" not in types[0]


def _rest_error(payload: dict[str, Any]) -> Response:
    return answer(payload, payload["error"]["code"])


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then what comes after it."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
