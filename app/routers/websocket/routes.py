"""The address of the WebSocket door, as plain ASGI: who is let in, and with which session."""

from __future__ import annotations

import asyncio

from starlette.datastructures import QueryParams
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from app.domain.errors import HectorError, NotFound, Unauthenticated
from app.doors.direct_send import server_send
from app.doors.errors import error_response
from app.routers.send import TRUE
from app.routers.websocket.caller import Caller
from app.routers.websocket.commands import Commands
from app.routers.websocket.line import Line
from app.routers.websocket.refusal import send_refusal
from app.routers.websocket.socket import Socket
from app.runtime import Runtime


def routes(runtime: Runtime) -> list[WebSocketRoute]:
    return [WebSocketRoute("/agents/{agent}/stream", _Door(runtime)), WebSocketRoute("/{path:path}", _Nowhere())]


class _Door:
    """The ASGI application of the address."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        query = QueryParams(scope["query_string"])
        try:
            caller = await self._let_in(scope, query)
        except HectorError as error:
            await send_refusal(send, error, scope["request_id"])
            return
        socket = Socket(
            Line(server_send(scope, send)),
            self._runtime.conversation,
            bound=caller.session_id,
            max_followed=self._runtime.config.server.max_followed,
            request_id=scope["request_id"],
        )
        debug = query.get("debug", "").lower() in TRUE
        commands = Commands(self._runtime, socket, caller, debug=debug, top_only=query.get("depth") == "0")
        revocation = self._runtime.authenticator.revocation(caller.principal)
        if revocation is None:
            await socket.serve(receive, commands.carry_out)
            return

        def cut(_revoked: asyncio.Future[None]) -> None:
            socket.close_for(Unauthenticated("The key of this socket was revoked."))

        revocation.add_done_callback(cut)
        try:
            await socket.serve(receive, commands.carry_out)
        finally:
            revocation.remove_done_callback(cut)

    async def _let_in(self, scope: Scope, query: QueryParams) -> Caller:
        """Raises NotFound or SessionOver: there is no such agent, or no such session."""
        runtime, principal, ticket = self._runtime, scope["principal"], scope.get("ticket")
        agent = runtime.roster.get(scope["path_params"]["agent"], principal)
        session_id = ticket.session_id if ticket is not None else query.get("session_id")
        caller = Caller(principal, agent.name, session_id, ticket, runtime.tickets)
        if session_id is not None:
            await runtime.sessions.get(principal, agent.name, session_id)
        return caller


class _Nowhere:
    """Every other address: the handshake is refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = NotFound(f"There is no WebSocket at {scope['path']}; they are at /agents/{{agent}}/stream.")
        await error_response(error, scope.get("request_id", ""))(scope, receive, send)
