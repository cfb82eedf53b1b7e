"""hector serve: one process, one port, from the first line of the log to the last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from app.cli.rpc_port import RpcPort
from app.cli.without_file import NO_FLAGS, QuickFlags, read_config
from app.config.find import find_config
from app.config.load import ConfigError, LoadedConfig
from app.config.root import Config
from app.domain.errors import Unavailable
from app.llm.detect import Probe
from app.llm.weights import find_weights
from app.main import create_app
from app.observability import logs, tracing
from app.observability.tasks import Tasks
from app.routers.open_files import OpenFiles, raise_limit
from app.routers.protocol import BoundedProtocol
from app.runtime import Runtime
from app.storage.engine.private_files import keep_new_files_private

log = logging.getLogger(__name__)

CONFIG_ERROR = 2
START_ERROR = 3
CLOSE_SECONDS = 5
ACCEPTED_AT_ONCE = 32
_TCP_INFO = struct.Struct("24xI")
"""Of a listening socket on Linux: how many connections nobody has accepted yet."""


class Server(uvicorn.Server):
    """uvicorn that sends `reconnect` to every reader before it waits for their connections to close."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, address: str) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._address = address
        self._rpc_port = RpcPort(runtime)
        runtime.on_stop(self._leave)
        if runtime.is_stopping:
            self._leave()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("ready at %s", self._address)
        self._rpc_port.start()

    def _leave(self) -> None:
        self.should_exit = True  # also when no signal was received

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises a signal again once it has closed its connections, which would end the process before the
        # running turns have got their grace and their end. For the same reason SIGTERM stays caught until the end.
        signal.signal(signal.SIGTERM, self.handle_exit)
        before = signal.signal(signal.SIGINT, self.handle_exit)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("shutting down")
        self._runtime.begin_shutdown()
        await asyncio.gather(super().shutdown(sockets), self._rpc_port.close(seconds=CLOSE_SECONDS))


def serve(
    *,
    config: Path | None,
    overrides: dict[str, Any],
    quick: QuickFlags = NO_FLAGS,
    probe: Probe | None = None,
    is_development: bool = False,
) -> int:
    """Run until a signal stops it. Returns the exit code (2: the configuration is wrong, 3: it cannot start)."""

    def read(probe: Probe | None = None) -> LoadedConfig:
        path = config or (None if quick.are_given else find_config(os.environ, Path.cwd()))
        return read_config(path, quick, overrides=overrides, probe=probe, tries_tools=True)

    try:
        if config is not None and quick.are_given:
            raise ConfigError(f"command line: what {config} says cannot be said by flags too; leave out one of them")
        loaded = read(probe)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CONFIG_ERROR
    keep_new_files_private()
    logs.configure(level=loaded.config.logging.level, form=loaded.config.logging.format)
    _say_what_was_read(loaded)
    tracing.set_up(os.environ.get(tracing.ENDPOINT))
    raise_limit()

    try:
        import uvloop
    except ImportError:
        return asyncio.run(_serve(loaded.config, lambda: read().config, is_development=is_development))
    return uvloop.run(_serve(loaded.config, lambda: read().config, is_development=is_development))


async def _serve(config: Config, read_again: Callable[[], Config], *, is_development: bool) -> int:
    try:
        listener = _bind(config)
    except OSError as error:
        log.error(
            "cannot listen on %s port %d: %s; try another with --port, or 0 for a free one",
            *(config.server.host, config.server.port, (error.strerror or str(error)).lower()),
        )
        return START_ERROR
    port = listener.getsockname()[1]
    config = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
    runtime = Runtime(config)
    runtime.lag.connections = partial(waiting_at, listener)
    try:
        await runtime.open()
    except (Unavailable, OSError) as error:
        log.error("%s", error)
        listener.close()
        return START_ERROR
    settings = uvicorn.Config(
        _make_app(runtime, is_development=is_development),
        http=cast(Any, partial(BoundedProtocol, config.server, OpenFiles())),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips="*" if "*" in config.server.trusted_proxies else list(config.server.trusted_proxies),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    reloads = Tasks()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, lambda: reloads.start(_reload(runtime, read_again), name="reload")
    )
    try:
        await Server(settings, runtime, config.server.address).serve(sockets=copies_of(listener))
    finally:
        await reloads.cancel()
        await runtime.close()
        # While the interpreter ends, it gives caught signals back to the system, which would end the process with one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log.info("stopped")
    return START_ERROR if runtime.was_superseded else 0


def _make_app(runtime: Runtime, *, is_development: bool) -> ASGIApp:
    if not is_development:
        return create_app(runtime)
    from app.routers.development import NOTICE, Development

    log.warning("%s", NOTICE)
    return Development(create_app(runtime, accepts_local_pages=True))


async def _reload(runtime: Runtime, read_again: Callable[[], Config]) -> None:
    """SIGHUP: reload agents and models; everything else stays as it was at start."""
    try:
        config = read_again()
        server = config.server.model_copy(update={"port": runtime.config.server.port})
        waits = await runtime.reload(config.model_copy(update={"server": server}))
    except (ConfigError, Unavailable) as error:
        for problem in str(error).splitlines():
            log.error("the configuration was not reloaded: %s", problem)
        return
    log.info("agents and models reloaded: %s", ", ".join([agent.name for agent in runtime.roster]))
    if waits:
        log.warning("changed, but needs a restart: %s", ", ".join(waits))


def _bind(config: Config) -> socket.socket:
    """Bind before anything is opened: a port in use must not cost a recovery of the data."""
    host = config.server.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), config.server.port))
    except OSError:
        listener.close()
        raise
    return listener


def copies_of(listener: socket.socket) -> list[socket.socket]:
    """The socket and copies of it, which share its queue of new connections.

    uvloop takes one connection of each socket in a round of its loop. With thousands of streams a round takes a tenth
    of a second, and a single socket let new clients, and `/health`, wait for many.
    """
    return [listener, *[listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1)]]


def waiting_at(listener: socket.socket) -> int:
    """How many connections nobody has accepted yet; 0 where the system does not say."""
    try:
        found = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        waiting: int = _TCP_INFO.unpack(found)[0]
        return waiting
    except (AttributeError, OSError):
        return 0


def _say_what_was_read(loaded: LoadedConfig) -> None:
    log.info("configuration: %s", loaded.path or f"none. {loaded.config.agents['assistant'].description}")
    for warning in loaded.warnings:
        log.warning("%s", warning)
    used = {agent.llm for agent in loaded.config.agents.values()}
    for name in sorted(used):
        llm = loaded.config.llms[name]
        if llm.is_embedded:
            log.info(
                "llm %s is the embedded 135M model: it demonstrates the server, not the quality of answers",
                name,
            )
            if find_weights() is None:
                log.warning("its weights are not installed: run `hector weights`, or configure another llm")
        elif not llm.is_configured:
            log.warning("llm %s has no key: turns that use it will fail; set llms.%s.api_key", name, name)
