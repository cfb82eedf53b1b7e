"""The client of handles that were given none: one for each event loop, closed with it. Written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hector_client._async.client import Client

_clients: dict[asyncio.AbstractEventLoop, tuple[Client, AsyncGenerator[None]]] = {}


def default_client() -> Client:
    """Made from HECTOR_SERVER and HECTOR_TOKEN at the first call in a loop. Raises RuntimeError outside of one."""
    from hector_client._async.client import Client

    loop = asyncio.get_running_loop()
    if loop not in _clients:
        client = Client()
        _clients[loop] = client, _close_with(loop, client)
    return _clients[loop][0]


def _close_with(loop: asyncio.AbstractEventLoop, client: Client) -> AsyncGenerator[None]:
    """A loop that ends (`asyncio.run`) first closes the asynchronous generators that were begun in it: such as this."""

    async def until_closed() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            del _clients[loop]
            await client.close()

    keeper = until_closed()
    try:
        keeper.__anext__().send(None)  # runs up to `yield`, which needs no loop
    except StopIteration:
        pass
    return keeper
