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

from app.cli.addresses import UNIX, is_here, normal_url, reachable
from app.cli.client import Client, open_http
from app.cli.failures import CommandFailed, ExitCode, Unreachable

if TYPE_CHECKING:  # with --server the configuration is not read: half of a command's time is saved
    from app.config.load import LoadedConfig
    from app.config.root import Config

START_SECONDS = 15.0
"""How long a server that holds the data may take to answer: it is starting, or shutting down."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the user said about it."""

    server: str | None = None
    token: str | None = None
    config: Path | None = None


@asynccontextmanager
async def connect(target: Target, *, only_looks: bool = False) -> AsyncIterator[Client]:
    """A client that has been answered once. With `only_looks` a run in this process leaves no files behind.

    Raises:
        CommandFailed: the configuration is wrong (2), nobody answers or nothing can be started (3).
    """
    if target.server is not None:
        async with _by_url(target.server, target.token) as client:
            await client.greet()
            yield client
        return
    config = read_config(target.config).config
    token = target.token or _only_key(config)
    url = await _find_server(config)
    if url is not None:
        async with _by_url(url, token) as client:
            yield client
        return
    from app.cli.in_process import serve_here

    async with serve_here(config, leave_nothing=only_looks) as socket, _by_url(UNIX + socket, token) as client:
        client.place = "this process"
        yield client


def read_config(path: Path | None) -> LoadedConfig:
    """Raises CommandFailed (2) with every problem of the file."""
    from app.config.load import ConfigError, find_config, load_config

    try:
        return load_config(path or find_config(os.environ, Path.cwd()), environ=os.environ)
    except ConfigError as error:
        raise CommandFailed(str(error), code=ExitCode.USAGE, reason="invalid_config") from None


@asynccontextmanager
async def _by_url(url: str, token: str | None) -> AsyncIterator[Client]:
    if url.startswith(UNIX):
        transport = httpx2.AsyncHTTPTransport(uds=url.removeprefix(UNIX))
        http = open_http("http://localhost", token=token, transport=transport)
    else:
        url = normal_url(url)
        # A proxy of the environment is for other machines; it could not reach this one.
        http = open_http(url, token=token, trust_env=not is_here(url))
    async with http:
        yield Client(http, url)


def _only_key(config: Config) -> str | None:
    """Whoever may read the configuration may act as its one caller; which of several, only the user knows."""
    keys = list(config.auth.keys.values())
    return keys[0].get_secret_value() if len(keys) == 1 else None


# -- the lock ----------------------------------------------------------------------------------


async def _find_server(config: Config) -> str | None:
    """The address of the live server on the configured data, once it is ready; `None` if there is none.

    Raises Unreachable: somebody holds the data and does not answer.
    """
    give_up = time.monotonic() + START_SECONDS
    while (holder := await asyncio.to_thread(_find_holder, config)) is not None:
        host = holder.get("host", socket.gethostname())
        if host != socket.gethostname():
            raise Unreachable(f"The server on this database runs on {host}; name its address with --server.")
        url = reachable(str(holder.get("url", "")))
        if url is not None:
            async with _by_url(url, None) as client:
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
    from app.domain.errors import Unavailable
    from app.storage.engine.lock import find_holder

    try:
        return find_holder(config.storage.url)
    except Unavailable as error:
        raise Unreachable(str(error)) from error
