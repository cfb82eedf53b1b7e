"""The gRPC server: its port, health and reflection, and the services that are registered on it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines on standard error have not the form of our log

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from app.config.server import ServerConfig
from app.domain.errors import Unavailable
from app.observability.tasks import Tasks
from app.rpc.guard import Guard
from app.runtime import Runtime

log = logging.getLogger(__name__)

Register = Callable[[grpc.aio.Server, Runtime, Tasks], str]
"""Serves something on the port and returns its full name, for reflection and health. `Tasks` keeps what must not stop
when its caller leaves. The guard stands before it: it has a principal in `doors.callers.caller`, and may raise errors
of the error table."""

KEEPALIVE_SECONDS = 15
"""Readers that went without a word are noticed by pings, as by the heartbeats of SSE."""
PING_SECONDS = 5
"""Clients may send pings that often."""
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class RpcServer:
    """`open` it when the runtime is ready; `close` it before the runtime.

    `is_shared`: other workers listen on the same port, which their parent keeps for them.
    """

    def __init__(self, runtime: Runtime, registers: Sequence[Register], *, is_shared: bool = False) -> None:
        self._runtime = runtime
        self._is_shared = is_shared
        self._registers = registers
        self._calls = Tasks()
        self._server: grpc.aio.Server | None = None
        self._health = Health(runtime)
        self.address = ""
        """Host and port, once it is open."""

    async def open(self) -> None:
        """Raises OSError: the port is taken."""
        config = self._runtime.config.server
        assert config.grpc_port is not None
        host = f"[{config.host.strip('[]')}]" if ":" in config.host else config.host
        if not self._is_shared:
            _check_free(config.host.strip("[]"), config.grpc_port)
        server = grpc.aio.server(
            interceptors=[Guard(self._runtime.authenticator, self._runtime.tickets, self._calls, self._runtime.limits)],
            options=options_of(config, self._is_shared),
        )
        names = [register(server, self._runtime, self._calls) for register in self._registers]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self._health.serve(["", *names])
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        try:
            port = server.add_insecure_port(f"{host}:{config.grpc_port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await server.start()
        self._server = server
        self.address = f"{host}:{port}"

    async def close(self, *, seconds: float) -> None:
        """Refuse new calls, let those that run end for so long; readers were told by the runtime's shutdown."""
        if self._server is None:
            return
        await self._health.stop()
        await self._server.stop(seconds)
        await self._calls.wait(seconds=seconds)
        await self._calls.cancel()


def options_of(config: ServerConfig, is_shared: bool) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", int(is_shared)),  # a server that is no worker would get half of the calls
        ("grpc.max_receive_message_length", config.max_body),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", config.max_header),
        ("grpc.absolute_max_metadata_size", config.max_header),
        ("grpc.max_concurrent_streams", config.grpc_max_calls),
        ("grpc.server_handshake_timeout_ms", int(config.header_timeout.total_seconds() * 1000)),
        ("grpc.max_connection_idle_ms", int(config.grpc_idle_timeout.total_seconds() * 1000)),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_SECONDS * 1000),
    ]


def _check_free(host: str, port: int) -> None:
    """Raise OSError if the port is taken, with the system's reason, which gRPC does not tell."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


class Health(health.aio.HealthServicer):  # type: ignore[name-defined,misc]
    """grpc.health.v1: serving while `/ready` would answer 200."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self._names: Sequence[str] = ()

    async def serve(self, names: Sequence[str]) -> None:
        self._names = names
        await self._tell(await self._is_ready())

    async def stop(self) -> None:
        with suppress(asyncio.CancelledError):
            await self.enter_graceful_shutdown()

    async def Check(self, request: Any, context: Any) -> Any:
        await self._tell(await self._is_ready())
        return await super().Check(request, context)

    async def _is_ready(self) -> bool:
        if not self._runtime.is_ready:
            return False
        try:
            await self._runtime.check()
        except Unavailable:
            return False
        return True

    async def _tell(self, is_serving: bool) -> None:
        for name in self._names:
            await self.set(name, _SERVING if is_serving else _NOT_SERVING)
