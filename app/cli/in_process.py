"""A whole server inside a command: the same application, on a private UNIX socket, for as long as the command lives.

A socket and not an in-memory ASGI transport: that one collects the whole answer first, so it could neither stream nor
be cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import uvicorn

from app.cli.addresses import UNIX
from app.cli.failures import Unreachable
from app.config.root import Config
from app.domain.errors import Unavailable
from app.main import create_app
from app.runtime import Runtime
from app.storage.engine.file_lock import pid_space
from app.storage.engine.private_files import keep_new_files_private

GRACE = timedelta(seconds=2)
"""How long running turns may continue when the command ends."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to the command


@asynccontextmanager
async def serve_here(config: Config, *, leave_nothing: bool = False) -> AsyncIterator[str]:
    """Yield the path of the socket once the server is ready. Raises Unreachable if it cannot start.

    With `leave_nothing` a database that does not exist yet is not created; an empty temporary one is used.
    """
    keep_new_files_private()
    folder = Path(tempfile.mkdtemp(prefix="hector-"))  # readable by this user only, and so is the socket
    try:
        config = _adapted(config, folder if leave_nothing and _has_no_data(config) else None)
        runtime = Runtime(config)
        try:
            await runtime.open()
        except Unavailable as error:
            raise Unreachable(f"{error} If a server is running, name it with --server.") from error
        try:
            address = str(folder / "hector.sock")
            async with _serving(runtime, address):
                _announce(config, address)
                yield address
        finally:
            await runtime.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_no_data(config: Config) -> bool:
    return not config.storage.is_postgres and not config.storage.path.exists()


def _adapted(config: Config, folder: Path | None) -> Config:
    # Port 0: until the socket is announced, the lock file must not name an address where another program may listen.
    changed: dict[str, object] = {
        "server": config.server.model_copy(update={"port": 0, "shutdown_grace": GRACE}),
    }
    if folder is not None:
        changed["storage"] = config.storage.model_copy(update={"url": f"sqlite:///{folder / 'hector.db'}"})
    return config.model_copy(update=changed)


@asynccontextmanager
async def _serving(runtime: Runtime, address: str) -> AsyncIterator[None]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Unreachable(f"No socket can be made at {address}: {error}") from error
    settings = uvicorn.Config(
        create_app(runtime), http="httptools", ws="none", lifespan="on", log_config=None, access_log=False
    )
    server = _Server(settings)
    running = asyncio.create_task(server.serve(sockets=[listener]), name="server in this process")
    try:
        await server.is_up.wait()
        yield
    finally:
        runtime.begin_shutdown()
        server.should_exit = True
        await running


def _announce(config: Config, address: str) -> None:
    """Write the socket into the lock file, which this process holds, so that another command finds this server."""
    lock = _lock_of(config)
    if lock is not None:
        lock.write_text(json.dumps({"pid": os.getpid(), "pids": pid_space(), "url": UNIX + address}), encoding="utf-8")


def _lock_of(config: Config) -> Path | None:
    """The lock file beside a SQLite database; Postgres has none."""
    from app.storage.engine.file_lock import lock_file

    return None if config.storage.is_postgres else lock_file(config.storage.path)
