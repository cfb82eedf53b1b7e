"""The parent of several workers: starts them, starts them again when they die, passes signals on. Serves nothing."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from collections.abc import Sequence
from contextlib import suppress

from app.cli.listening import TRY_ANOTHER, CannotListen, reserve
from app.cli.start import CONFIG_ERROR, START_ERROR
from app.cli.worker import READY, Worker
from app.config.root import Config
from app.observability import logs

log = logging.getLogger(__name__)

TERMINATED = 143
STEADY_SECONDS = 30.0
"""A worker that was at work for so long is started again at once."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Before one that died sooner is started again: none the first time, then the first pause, doubled each time."""
_LONGEST_NAME = 32


def supervise(config: Config) -> int:
    """Run `server.workers` servers on one port until a signal stops them. Returns the exit code."""
    logs.configure(level=config.logging.level, form=config.logging.format)
    return asyncio.run(Workers(config, command=[sys.executable, *sys.orig_argv[1:]]).run())


def names_of(config: Config) -> list[str]:
    """`cluster.name`, else the name of the machine, with a number for each worker."""
    count = config.server.workers
    room = _LONGEST_NAME - len(f"-{count}")
    given = config.cluster.name or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
    base = given[-room:].lstrip("._-") or "worker"
    return [f"{base}-{number}" for number in range(1, count + 1)]


class _Child:
    """One process of a worker. `line` ends when it dies, and ours tells it when we die."""

    def __init__(self, name: str, process: Process, line: socket.socket) -> None:
        self.name = name
        self.process = process
        self.line = line
        self.ready_since: float | None = None

    @property
    def is_ready(self) -> bool:
        return self.ready_since is not None

    @property
    def was_steady(self) -> bool:
        return self.ready_since is not None and time.monotonic() - self.ready_since > STEADY_SECONDS

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Workers:
    """`command` starts a server by the same configuration; what makes it a worker is put behind it."""

    def __init__(self, config: Config, *, command: Sequence[str]) -> None:
        self._config = config
        self._command = command
        self._names = names_of(config)
        self._port = 0
        self._grpc_port: int | None = None
        self._reserved: list[socket.socket] = []
        self._children: dict[str, _Child] = {}
        self._first_is_ready = asyncio.Event()
        self._were_ready = False
        """Whether all were ready at the same time."""
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Returns the exit code: 0; 2 or 3, of a worker that cannot start; 143, stopped before all were ready; else
        that of a worker that did not end well."""
        try:
            self._reserve_ports()
        except CannotListen as error:
            log.error("%s; %s", error, TRY_ANOTHER)
            return START_ERROR
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        await asyncio.gather(*[self._keep(place) for place in range(len(self._names))])
        log.info("stopped")
        return self._exit_code

    def _reserve_ports(self) -> None:
        """Keep the ports for the workers, also while one of them is started again."""
        config = self._config.server
        self._reserved.append(reserve(config.host, config.port))
        self._port = self._reserved[0].getsockname()[1]
        if config.grpc_port is None:
            return
        try:
            self._reserved.append(reserve(config.host, config.grpc_port))
        except CannotListen as error:
            log.warning("no gRPC: %s; choose another server.grpc_port, 0 for a free one, or null", error)
            return
        self._grpc_port = self._reserved[1].getsockname()[1]

    async def _keep(self, place: int) -> None:
        """One worker, started again whenever it dies, until the shutdown."""
        if place > 0:
            await self._first_is_ready.wait()  # what is wrong with a start is told once, not by all
        deaths = 0
        while not self._stopping.is_set():
            child = await self._start(place)
            code = await self._see_to_its_end(child)
            if self._stopping.is_set():
                self._note(child, code)
            elif not self._were_ready and code in (CONFIG_ERROR, START_ERROR):
                self._exit_code = code  # its own line says why
                self._stop(signal.SIGTERM)
            else:
                deaths = 1 if child.was_steady else deaths + 1
                await self._pause(child, code, deaths)

    async def _start(self, place: int) -> _Child:
        config, line, theirs = self._config.server, *socket.socketpair()
        line.setblocking(False)
        own_port = config.port + place + 1 if 0 < config.port < 65536 - len(self._names) else 0
        worker = Worker(self._names[place], own_port, self._grpc_port, theirs.fileno())
        process = await create_subprocess_exec(
            *(*self._command, "--port", str(self._port), "--worker", str(worker)),
            stdin=DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C reaches the parent alone, which passes it on
        )
        theirs.close()
        child = self._children[worker.name] = _Child(worker.name, process, line)
        if self._stopping.is_set():
            child.send(signal.SIGTERM)
        return child

    async def _see_to_its_end(self, child: _Child) -> int:
        waiting = asyncio.create_task(self._wait_until_ready(child), name=f"start of {child.name}")
        code = await child.process.wait()
        await waiting
        child.line.close()
        del self._children[child.name]
        return code

    async def _wait_until_ready(self, child: _Child) -> None:
        """Also returns when it has died before."""
        if await asyncio.get_running_loop().sock_recv(child.line, 1) != READY:
            return
        child.ready_since = time.monotonic()
        self._first_is_ready.set()
        are_ready = len(self._children) == len(self._names) and all(one.is_ready for one in self._children.values())
        if are_ready and not self._were_ready and not self._stopping.is_set():
            self._were_ready = True
            address = self._config.server.model_copy(update={"port": self._port}).address
            log.info("ready at %s with %d workers: %s", address, len(self._names), ", ".join(self._names))

    async def _pause(self, child: _Child, code: int, deaths: int) -> None:
        """Before it is started again."""
        seconds = 0.0 if deaths == 1 else min(FIRST_PAUSE_SECONDS * 2 ** min(deaths - 2, 16), LONGEST_PAUSE_SECONDS)
        when = f"in {seconds:g} s" if seconds else "now"
        log.error("%s (process %d) %s; it is started again %s", child.name, child.process.pid, _told(code), when)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _note(self, child: _Child, code: int) -> None:
        """What the end of a worker that was asked to stop means for ours."""
        if code in (0, TERMINATED, -signal.SIGTERM) and (code == 0 or not child.is_ready):
            return
        log.error("%s (process %d) %s", child.name, child.process.pid, _told(code))
        self._exit_code = self._exit_code or (code if code > 0 else 128 - code)

    def _stop(self, number: int) -> None:
        """Ask all to stop, as one server is asked: a second Ctrl-C is passed on as what it is."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._first_is_ready.set()
            if not self._were_ready:
                self._exit_code = self._exit_code or TERMINATED
            for reserved in self._reserved:
                reserved.close()
            number = signal.SIGTERM
        for child in self._children.values():
            child.send(number)

    def _reload(self) -> None:
        """A worker that is not ready yet reads the configuration anyway."""
        for child in self._children.values():
            if child.is_ready:
                child.send(signal.SIGHUP)


def _told(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
