"""One MCP server of the configuration: its connection, kept alive, and its tools.

The SDK takes a second of CPU to import. This module does without, and loads the rest of the package when it is opened.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.domain.act import ToolClass
from app.domain.label import Reach
from app.observability.tasks import Tasks
from app.tools.base import Tool
from app.tools.mcp.awaited import AwaitedTool
from app.tools.mcp.endpoint import Address, Choice, Endpoint, Limits, Program
from app.tools.mcp.faults import NotConnected

if TYPE_CHECKING:
    from app.tools.mcp.connection import Connection
    from app.tools.mcp.waiting import Exchange

log = logging.getLogger(__name__)

_NUDGE_SECONDS = 0.5  # between attempts that calls ask for
_STEADY_SECONDS = 10.0  # a connection that lasted so long ends a series of failures
_CLOSE_SECONDS = 5.0
_MOST_WAITING = 100  # calls that wait for people, in a server of an older protocol


@dataclass(frozen=True, slots=True)
class McpStatus:
    """How a server is doing. `why`: why it is not connected, a sentence that begins with its name."""

    name: str
    state: Literal["connecting", "connected", "broken", "closed"]
    tools: int
    why: str | None = None
    left_out: tuple[str, ...] = ()
    """Tools of the server that cannot be used, each with its reason; not more than 20."""
    protocol: str | None = None
    software: str | None = None


class McpServer:
    """A server that is started (`command`) or called (`url`), exactly one of them.

    `open` returns after `connect_timeout` seconds at most; tools appear when the server has told them, and stay when it
    breaks. A broken connection is rebuilt, with pauses that grow, until `close`.
    """

    def __init__(
        self,
        name: str,
        *,
        command: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        classes: Mapping[str, ToolClass] | None = None,
        reads: Mapping[str, Reach] | None = None,
        sends: Mapping[str, Reach] | None = None,
        tool_timeout: float | None = None,
        connect_timeout: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Times are seconds. `env` is all that a child gets beside `PATH`, `HOME` and the like; `limits` has the limits
        that are no parameter. `include` to `sends` have patterns of names of its tools.

        Raises:
            ValueError: neither a command nor an address is given, or both.
        """
        limits = limits or Limits()
        self.name = name
        self.limits = replace(
            limits,
            tool_timeout=limits.tool_timeout if tool_timeout is None else tool_timeout,
            connect_timeout=limits.connect_timeout if connect_timeout is None else connect_timeout,
        )
        self._endpoint = _endpoint_of(name, command, args, env, cwd, url, headers)
        self._choice = Choice(tuple(include), tuple(exclude), dict(classes or {}), dict(reads or {}), dict(sends or {}))
        self._current: Connection | None = None
        self._tools: list[Tool] = []
        self._left_out: tuple[str, ...] = ()
        self._listed_at = 0.0
        self._has_listed = False
        self._why: str | None = None
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._living: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, tuple[Exchange, asyncio.TimerHandle]] = {}
        self._ending = Tasks()
        self._is_closed = False

    async def open(self) -> None:
        """Begin to connect; wait for it `connect_timeout` seconds at most. Never fails: `status` tells."""
        if self._supervisor is not None:
            return
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name=f"mcp {self.name}")
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.connect_timeout), self._changed:
                await self._changed.wait_for(lambda: self._current is not None or self._why is not None)

    async def close(self) -> None:
        """End the connection, and the child process with all its descendants. A server that hangs is not waited for."""
        self._is_closed = True
        for call_id in list(self._waiting):
            self._drop_waiting(call_id)
        await self._ending.wait(seconds=_CLOSE_SECONDS)
        tasks = {task for task in (self._supervisor, *self._living) if task is not None and not task.done()}
        for _ in range(2):  # the second cancel is for a farewell that is not answered
            for task in tasks:
                task.cancel()
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        if tasks:
            log.error("MCP server %s could not be closed", self.name)
        await self._set_current(None, "is closed")

    def tools(self) -> list[Tool]:
        """The tools as they are known, by name. Lists them anew in the background when they do not hold any more."""
        current = self._current
        age = time.monotonic() - self._listed_at
        if current is not None and current.holds_seconds is not None and age > current.holds_seconds:
            current.expire_listing()
        return list(self._tools)

    def find_awaited(self, name: str) -> Tool | None:
        """A stand-in for a tool of this name, as long as the server has not told its tools."""
        if self._has_listed or not name.startswith(f"mcp__{self.name}__"):
            return None
        return AwaitedTool(self, name)

    @property
    def has_listed(self) -> bool:
        """Whether the server has told its tools, once since `open`."""
        return self._has_listed

    @property
    def status(self) -> McpStatus:
        current = self._current
        state: Literal["connecting", "connected", "broken", "closed"] = "connecting"
        if current is not None:
            state = "connected"
        elif self._is_closed:
            state = "closed"
        elif self._why is not None:
            state = "broken"
        why = None if current is not None or self._why is None else f"MCP server {self.name!r} {self._why}"
        protocol, software = (current.protocol, current.software) if current is not None else (None, None)
        return McpStatus(self.name, state, len(self._tools), why, self._left_out[:20], protocol, software)

    async def connection(self, *, wait_seconds: float) -> Connection:
        """The present connection. Without one, another attempt is made soon, and waited for.

        Raises:
            NotConnected: there is none; the message goes on after the server's name.
        """
        if self._usable() is None and not self._is_closed:
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds), self._changed:
                    await self._changed.wait_for(lambda: self._usable() is not None or self._is_closed)
        found = self._usable()
        if found is None:
            raise NotConnected(f"is not connected: it {self._why}" if self._why else "is still being connected")
        return found

    def _usable(self) -> Connection | None:
        return None if self._current is None or self._current.over.is_set() else self._current

    def keep_waiting(self, call_id: str, exchange: Exchange) -> None:
        """Keep a call on its way while a person is asked; not for ever, and not any number of them."""
        while len(self._waiting) >= _MOST_WAITING:
            self._drop_waiting(next(iter(self._waiting)))
        timer = asyncio.get_running_loop().call_later(self.limits.question_timeout, self._drop_waiting, call_id)
        self._waiting[call_id] = (exchange, timer)

    def take_waiting(self, call_id: str) -> Exchange | None:
        """The call that was kept, if it still is."""
        exchange, timer = self._waiting.pop(call_id, (None, None))
        if timer is not None:
            timer.cancel()
        return exchange

    def _drop_waiting(self, call_id: str) -> None:
        exchange = self.take_waiting(call_id)
        if exchange is not None:
            self._ending.start(exchange.end(), name=f"mcp {self.name} end of a call")

    async def _supervise(self) -> None:
        module = await asyncio.to_thread(importlib.import_module, "app.tools.mcp.connection")
        checks = module.SchemaChecks()
        loop = asyncio.get_running_loop()
        pause = 0.0
        skips_probe = False
        told: str | None = None
        while True:
            await self._rest(pause)
            begun = loop.time()
            connection: Connection = module.Connection(
                self.name, self._endpoint, self._choice, self.limits, checks, skips_probe=skips_probe
            )
            connection.on_listing = partial(self._take_listing, connection)
            self._begin(connection)
            await connection.settled.wait()
            was_up = connection.is_up
            if was_up:
                log.info("MCP server %s is connected: %d tools", self.name, len(self._tools))
                await self._set_current(connection, None)
                await connection.over.wait()
            await self._set_current(None, connection.why)
            # One that does not come up without the probe gets it again: the server may be another one by now.
            skips_probe = connection.skips_probe and (was_up or not skips_probe)
            if was_up and loop.time() - begun > _STEADY_SECONDS:
                pause = 0.0
            pause = min(max(2 * pause, self.limits.retry_min), self.limits.retry_max)
            # The same failure again and again is told once.
            level = logging.DEBUG if connection.why == told else logging.WARNING
            log.log(level, "MCP server %s %s; it is tried again", self.name, connection.why)
            told = connection.why

    def _begin(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.live(), name=f"mcp {self.name} connection")
        self._living.add(task)
        task.add_done_callback(self._living.discard)

    async def _rest(self, seconds: float) -> None:
        """A pause, with some chance in it. A call that finds no connection ends it early."""
        if not seconds:
            return
        least = min(seconds, _NUDGE_SECONDS)
        self._wanted.clear()
        await asyncio.sleep(least * random.uniform(0.8, 1.0))
        with suppress(TimeoutError):
            async with asyncio.timeout((seconds - least) * random.uniform(0.8, 1.2)):
                await self._wanted.wait()

    async def _set_current(self, connection: Connection | None, why: str | None) -> None:
        self._current = connection
        self._why = why
        async with self._changed:
            self._changed.notify_all()

    def _take_listing(self, connection: Connection) -> None:
        tool_class = importlib.import_module("app.tools.mcp.tool").McpTool
        self._tools = [tool_class(self, listed) for listed in connection.listing.tools]
        self._left_out = connection.listing.left_out
        self._listed_at = time.monotonic()
        self._has_listed = True


def _endpoint_of(
    name: str,
    command: str | None,
    args: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    url: str | None,
    headers: Mapping[str, str] | None,
) -> Endpoint:
    if (command is None) == (url is None):
        raise ValueError(f"MCP server {name!r} needs either `command` or `url`")
    if url is not None:
        return Address(url, dict(headers or {}))
    assert command is not None
    return Program(command, tuple(args), dict(env or {}), cwd)
