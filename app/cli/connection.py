"""Where a command's requests go: to a server named, to a live one found by its lock, or into this process."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from app.cli.addresses import UNIX, normal_url, reachable
from app.cli.failures import CommandFailed, ExitCode, Unreachable
from app.cli.loading import without_collections
from hector_client import Client
from hector_client import Unreachable as NoAnswer

if TYPE_CHECKING:  # with --server the configuration is not read: half of a command's time is saved
    from app.config.load import LoadedConfig
    from app.config.root import Config

THIS_PROCESS = "this process"
"""The place of answers when there is no server."""
START_SECONDS = 15.0
"""How long to wait for a server that holds the data and does not answer: it is starting, or shutting down."""


@dataclass(frozen=True, slots=True)
class Target:
    """The options that choose a server."""

    server: str | None = None
    token: str | None = None
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """A server that answers, or one in this process. `url` may be that of a socket (`UNIX` and its path)."""

    url: str
    token: str | None
    place: str | None = None
    """Where the answers come from, as people are told; `None`: the address."""


@asynccontextmanager
async def connect(
    target: Target, *, only_looks: bool = False, user: str | None = None, needs_server: bool = False
) -> AsyncIterator[Client]:
    """A client of a server that answers, acting for `user`. With `only_looks` a run in this process leaves no files;
    with `needs_server` there is none.

    Raises:
        CommandFailed: the configuration is wrong (2), no server answers or none can be started here (3).
    """
    async with (
        reach(target, only_looks=only_looks, needs_server=needs_server) as found,
        _open(found.url, found.token, user) as client,
    ):
        if found.place is not None:
            client.place = found.place
        yield client


@asynccontextmanager
async def reach(target: Target, *, only_looks: bool = False, needs_server: bool = False) -> AsyncIterator[Reached]:
    """The server that a command is to ask. Raises what `connect` raises."""
    if target.server is not None:
        async with _open(target.server, target.token) as client:
            await _greet(client)
        yield Reached(target.server, target.token)
        return
    config = read_config(target.config).config
    token = target.token or _only_key(config)
    url = await _find_server(config)
    if url is not None:
        yield Reached(url, token)
        return
    if needs_server:
        raise Unreachable(
            "No server is running on this data. Start it with `hector serve`, or name one elsewhere with --server."
        )
    with without_collections():
        from app.cli.in_process import serve_here

    if config.has_tools:
        config = read_config(target.config, tries_tools=True).config  # this process is to use them
    async with serve_here(config, leave_nothing=only_looks) as socket:
        yield Reached(UNIX + socket, token, THIS_PROCESS)


def read_config(path: Path | None, *, tries_tools: bool = False) -> LoadedConfig:
    """Raises CommandFailed (2) with every problem of the file; with `tries_tools` also of tools that cannot be made."""
    from app.cli.without_file import read_config as read
    from app.config.find import find_config
    from app.config.load import ConfigError

    try:
        return read(path or find_config(os.environ, Path.cwd()), tries_tools=tries_tools)
    except ConfigError as error:
        raise CommandFailed(str(error), code=ExitCode.USAGE, reason="invalid_config") from None


def _open(url: str, token: str | None, user: str | None = None) -> Client:
    token = token or ""  # the environment was read with the options; the client need not read it again
    if not url.startswith(UNIX):
        return Client(normal_url(url), token=token, user=user)
    transport = httpx2.AsyncHTTPTransport(uds=url.removeprefix(UNIX))
    client = Client("http://localhost", token=token, user=user, transport=transport)
    client.place = url
    return client


async def _greet(client: Client) -> None:
    """Raises Unreachable if no HTTP response arrives; any status counts as alive."""
    try:
        await client.ping()
    except NoAnswer as error:
        raise Unreachable(f"There is no server at {client.place}: {error.problem}.") from error


def _only_key(config: Config) -> str | None:
    """The key of the configuration, if it has exactly one: a user who can read the file may use it. Of several keys
    the user has to choose."""
    keys = list(config.auth.keys.values())
    return keys[0].secret if len(keys) == 1 else None


# -- the lock ----------------------------------------------------------------------------------


async def _find_server(config: Config) -> str | None:
    """The address of the live server on the configured data, once it is ready; `None` if there is none.

    Raises Unreachable: another process holds the data and does not answer.
    """
    give_up = time.monotonic() + START_SECONDS
    while (holder := await asyncio.to_thread(_find_holder, config)) is not None:
        host = holder.get("host", socket.gethostname())
        if host != socket.gethostname():
            raise Unreachable(f"The server on this database runs on {host}; name its address with --server.")
        url = reachable(str(holder.get("url", "")))
        if url is not None:
            async with _open(url, None) as client:
                if await client.is_ready():
                    return url
        if time.monotonic() > give_up:
            raise Unreachable(
                f"Process {holder.get('pid', '?')} holds the data but does not answer"
                f" at {holder.get('url', '?')}; name another address with --server."
            )
        await asyncio.sleep(0.1)
    return None


def _find_holder(config: Config) -> dict[str, object] | None:
    """The server that holds the data; of several one on this machine, if there is one."""
    from app.domain.errors import Unavailable
    from app.storage.engine.lock import find_holders

    try:
        holders = find_holders(config.storage.url)
    except Unavailable as error:
        raise Unreachable(str(error)) from error
    here = socket.gethostname()
    return min(holders, key=lambda holder: holder.get("host", here) != here, default=None)
