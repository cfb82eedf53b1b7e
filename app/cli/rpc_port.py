"""The gRPC port of `hector serve`: opened once HTTP is ready, for loading gRPC takes a tenth of a second."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from app.compat.a2a.door import A2ADoor, is_open
from app.observability.tasks import Tasks
from app.runtime import Runtime

if TYPE_CHECKING:
    from app.rpc.server import Register, RpcServer

log = logging.getLogger(__name__)


class RpcPort:
    """Whatever keeps it from opening costs one line in the log: HTTP goes on without it."""

    def __init__(self, runtime: Runtime, a2a: A2ADoor, *, is_shared: bool) -> None:
        self._runtime = runtime
        self._a2a = a2a
        self._is_shared = is_shared
        self._tasks = Tasks()
        self._server: RpcServer | None = None

    def start(self) -> None:
        """Open it in the background; not at all without `server.grpc_port`."""
        if self._runtime.config.server.grpc_port is not None:
            self._tasks.start(self._open(), name="gRPC port")

    async def close(self, *, seconds: float) -> None:
        await self._tasks.cancel()
        if self._server is not None:
            await self._server.close(seconds=seconds)

    async def _open(self) -> None:
        config = self._runtime.config.server
        try:
            server_class, registers = await load_services(self._runtime, self._a2a)
        except ImportError as error:
            log.info("no gRPC: %s is not installed; pip install 'hector[grpc]' adds it", error.name or "its package")
            return
        server = server_class(self._runtime, registers, is_shared=self._is_shared)
        try:
            await server.open()
        except OSError as error:
            log.warning(
                "no gRPC: cannot listen on %s port %d: %s; choose another server.grpc_port, 0 for a free one, or null",
                *(config.host, config.grpc_port, (error.strerror or str(error)).lower()),
            )
            return
        self._server = server
        self._runtime.grpc_port = int(server.address.rpartition(":")[2])
        log.info("gRPC at %s", server.address)


async def load_services(runtime: Runtime, a2a: A2ADoor) -> tuple[type[RpcServer], list[Register]]:
    """The server, and the services on its port. Raises ImportError: gRPC is not installed."""
    server_class, register = await asyncio.to_thread(_import)
    registers: list[Register] = [register]
    if is_open(runtime.config.compat.a2a):
        handler = await a2a.handler()
        from app.compat.a2a import grpc

        registers.append(partial(grpc.register, handler))
    return server_class, registers


def _import() -> tuple[type[RpcServer], Register]:
    from app.rpc.server import RpcServer
    from app.rpc.service import register

    return RpcServer, register
