"""One server in this process, from the first line of the log to the last. start.py decides whether it is a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from app import __version__
from app.cli.listening import TRY_ANOTHER, CannotListen, bind, copies_of, waiting_at
from app.cli.rpc_port import RpcPort
from app.cli.start import START_ERROR
from app.cli.worker import Parent, Worker, own_host
from app.compat.a2a.door import A2ADoor
from app.config.load import ConfigError, LoadedConfig
from app.config.root import Config
from app.domain.errors import Unavailable
from app.llm.weights import find_weights
from app.main import create_app
from app.observability import access, audit, logs, tracing
from app.observability.metrics import Metrics
from app.observability.tasks import Tasks
from app.routers.open_files import OpenFiles, raise_limit
from app.routers.protocol import BoundedProtocol
from app.routers.requests import note_refusal
from app.runtime import Runtime
from app.storage.engine.private_files import keep_new_files_private

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5


class Server(uvicorn.Server):
    """uvicorn that sends `reconnect` to every reader before it waits for their connections to close."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, a2a: A2ADoor, parent: Parent | None) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._parent = parent
        self._rpc_port = RpcPort(runtime, a2a, is_shared=parent is not None)
        runtime.on_stop(self._leave)
        if runtime.is_stopping:
            self._leave()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        config = self._runtime.config
        if self._parent is None:
            log.info("ready at %s", config.server.address)
        else:
            log.info("ready behind %s, alone at %s", config.server.address, config.cluster.address)
            self._parent.tell_ready()
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
    loaded: LoadedConfig,
    read_again: Callable[[], Config],
    *,
    worker: Worker | None = None,
    is_development: bool = False,
) -> int:
    """Run until a signal stops it. Returns the exit code (3: it cannot start, or another server took over its data)."""
    keep_new_files_private()
    config = loaded.config
    name = config.cluster.name if config.is_shared else None
    logs.configure(level=config.logging.level, form=config.logging.format, server=name)
    if not _open_logs(config, name):
        return START_ERROR
    _say_what_was_read(loaded)
    tracing.set_up(os.environ.get(tracing.ENDPOINT), version=__version__, server=name)
    raise_limit()

    try:
        import uvloop
    except ImportError:
        return asyncio.run(_serve(config, read_again, worker, is_development=is_development))
    return uvloop.run(_serve(config, read_again, worker, is_development=is_development))


def _open_logs(config: Config, name: str | None) -> bool:
    """Whether the audit log and the access log can be written, as far as they are asked for."""
    key, place = "audit", config.logging.audit
    try:
        audit.configure(place, server=name)
        key, place = "access", config.logging.access
        access.configure(place, form=config.logging.format, server=name)
    except OSError as error:
        log.error("logging.%s: %s cannot be written: %s", key, place, (error.strerror or "").lower())
        return False
    return True


async def _serve(
    config: Config, read_again: Callable[[], Config], worker: Worker | None, *, is_development: bool
) -> int:
    parent = Parent(worker.fd) if worker is not None else None
    try:
        # Before anything is opened: a port in use must not cost a recovery of the data.
        listener = bind(config.server.host, config.server.port, is_shared=worker is not None)
        own = [bind(own_host(config), worker.port)] if worker is not None else []
    except CannotListen as error:
        log.error("%s; %s", error, TRY_ANOTHER)
        return START_ERROR

    def settle(config: Config) -> Config:
        server = config.server.model_copy(update={"port": listener.getsockname()[1]})
        settled = config.model_copy(update={"server": server})
        return settled if worker is None else worker.settle(settled, own[0].getsockname()[1])

    runtime = Runtime(settle(config))
    runtime.lag.connections = partial(waiting_at, listener)
    if parent is not None:
        parent.watch(runtime.begin_shutdown)
    try:
        await runtime.open()
    except (Unavailable, OSError) as error:
        log.error("%s", error)
        listener.close()
        return START_ERROR
    reloads = Tasks()
    runtime.read_again = lambda: settle(read_again())
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, lambda: reloads.start(_reload(runtime, lambda: settle(read_again())), name="reload")
    )
    try:
        a2a = A2ADoor(runtime)
        app = _make_app(runtime, a2a, is_development=is_development)
        await Server(_settings(app, config, runtime.metrics), runtime, a2a, parent).serve(
            sockets=[*copies_of(listener), *own]
        )
    finally:
        await reloads.cancel()
        await runtime.close()
        # While the interpreter ends, it gives caught signals back to the system, which would end the process with one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log.info("stopped")
    return START_ERROR if runtime.was_superseded else 0


def _settings(app: ASGIApp, config: Config, metrics: Metrics) -> uvicorn.Config:
    proxies = config.server.trusted_proxies
    protocol = partial(BoundedProtocol, config.server, OpenFiles(), on_refusal=partial(note_refusal, metrics))
    return uvicorn.Config(
        app,
        http=cast(Any, protocol),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips="*" if "*" in proxies else list(proxies),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def _make_app(runtime: Runtime, a2a: A2ADoor, *, is_development: bool) -> ASGIApp:
    if not is_development:
        return create_app(runtime, a2a=a2a)
    from app.routers.development import NOTICE, Development

    log.warning("%s", NOTICE)
    return Development(create_app(runtime, a2a=a2a, accepts_local_pages=True))


async def _reload(runtime: Runtime, read_again: Callable[[], Config]) -> None:
    """SIGHUP: reload agents and models; everything else stays as it was at start."""
    try:
        changes = await runtime.reload(read_again())
    except (ConfigError, Unavailable) as error:
        for problem in str(error).splitlines():
            log.error("the configuration was not reloaded: %s", problem)
        return
    log.info("agents and models reloaded: %s", ", ".join([agent.name for agent in runtime.roster]))
    for agent in changes.agents_changed:
        log.info("agent %s: version %s, was %s", agent.name, agent.after, agent.before)
    if changes.needs_restart:
        log.warning("changed, but needs a restart: %s", ", ".join(changes.needs_restart))


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
