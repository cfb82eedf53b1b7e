"""A worker: one of the servers that `hector serve --workers N` starts, seen from inside. workers.py is its parent."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from app.config.root import Config

log = logging.getLogger(__name__)

READY = b"r"
"""What a worker says to its parent, once."""
_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker is told by its parent; it travels as an option of its command line.

    `name`: of this server among all that share the database. `port`: its own, beside the one that it shares; 0 for a
    free one. `grpc_port`: kept by the parent for its workers; None where that could not be, or gRPC is off. `fd`: a
    socket to the parent, which closes when the parent dies.
    """

    name: str
    port: int
    grpc_port: int | None
    fd: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        name, port, grpc_port, fd = text.split(",")
        return cls(name, int(port), int(grpc_port) if grpc_port else None, int(fd))

    def __str__(self) -> str:
        return f"{self.name},{self.port},{self.grpc_port or ''},{self.fd}"

    @property
    def overrides(self) -> dict[str, object]:
        """What it is, whatever the file says."""
        return {"cluster.enabled": True, "cluster.name": self.name}

    def settle(self, config: Config, port: int) -> Config:
        """`config` with what was decided for this worker; `port`: its own one, once it is bound."""
        named = urlsplit(config.cluster.address or "").hostname
        host = named or own_host(config)
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return config.model_copy(
            update={
                "server": config.server.model_copy(update={"grpc_port": self.grpc_port}),
                "cluster": config.cluster.model_copy(update={"address": address}),
            }
        )


def own_host(config: Config) -> str:
    """Where a worker listens for other servers; they are on this machine unless `cluster.address` says otherwise."""
    host = config.server.host
    return host if config.cluster.address is not None else _THIS_MACHINE.get(host, host).strip("[]")


class Parent:
    """The process that started this worker."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._socket.setblocking(False)

    def tell_ready(self) -> None:
        with suppress(OSError):  # it has died, which `watch` tells
            self._socket.send(READY)

    def watch(self, on_death: Callable[[], None]) -> None:
        """Call `on_death` once the parent has died: nobody would stop this worker any more."""
        asyncio.get_running_loop().add_reader(self._socket, self._notice, on_death)

    def _notice(self, on_death: Callable[[], None]) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        log.error("the process that started this worker has died; the worker stops")
        on_death()
