"""gRPC: the official `lf.a2a.v1.A2AService`, on the server's gRPC port. `tenant` says which agent is asked."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.grpc_handler import DefaultGrpcServerCallContextBuilder, GrpcHandler
from a2a.types.a2a_pb2 import DESCRIPTOR
from a2a.types.a2a_pb2_grpc import add_A2AServiceServicer_to_server
from a2a.utils.constants import VERSION_HEADER
from a2a.utils.errors import VersionNotSupportedError

from app.compat.a2a.handler import CALLER, Handler
from app.compat.a2a.service import Caller
from app.domain.errors import InvalidRequest
from app.doors.callers import caller
from app.observability.tasks import Tasks
from app.runtime import Runtime

if TYPE_CHECKING:
    from grpc.aio import Server

_VERSION_1 = re.compile(r"1(?:\.\d+)*")


def register(handler: Handler, server: Server, runtime: Runtime, _calls: Tasks) -> str:
    """Serve it on the port; returns its full name."""
    add_A2AServiceServicer_to_server(_Servicer(handler, runtime), server)  # type: ignore[no-untyped-call]
    return DESCRIPTOR.services_by_name["A2AService"].full_name


class _Servicer(GrpcHandler):
    """The SDK's, with the caller that the guard before it has found out."""

    def __init__(self, handler: Handler, runtime: Runtime) -> None:
        super().__init__(handler, DefaultGrpcServerCallContextBuilder())
        self._runtime = runtime

    def _build_call_context(self, context: Any, request: Any) -> ServerCallContext:
        _check_version(context.invocation_metadata() or ())
        built = super()._build_call_context(context, request)
        left = asyncio.Event()
        context.add_done_callback(lambda _: left.set())
        principal = caller.get()
        agent = self._runtime.roster.get(built.tenant or self._only_agent(), principal)
        built.state[CALLER] = Caller(principal, agent.name, left.wait)
        return built

    def _only_agent(self) -> str:
        agents = self._runtime.roster.listed(caller.get())
        if len(agents) != 1:
            raise InvalidRequest("This server has several agents: name one as the tenant, as its card does.")
        return agents[0].name


def _check_version(metadata: Any) -> None:
    """A call without a word is of version 1: this service is of no other. Raises VersionNotSupportedError."""
    for key, value in metadata:
        if key == VERSION_HEADER.lower() and _VERSION_1.fullmatch(str(value).strip()) is None:
            raise VersionNotSupportedError(f"Version {str(value)[:20]!r} of A2A is not spoken here.")
