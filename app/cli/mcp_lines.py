"""Standard input as lines that a signal may end the wait for, which it cannot for a thread that reads."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

MAX_LINE = 32 << 20
"""Bytes of a line; a server takes messages of `server.max_body` bytes, 1 MiB by default."""


class Lines:
    """An asynchronous iterator of the lines of a pipe, as text; the end of the input, or a longer line, ends it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:  # longer than MAX_LINE: where the next line begins is not known
            line = b""
        if not line:
            raise StopAsyncIteration
        return line.decode("utf-8", "replace")


async def standard_input() -> Any:
    """Lines of the pipe that a client writes to; `None` for a file or a terminal, which the SDK reads in a thread."""
    if sys.stdin.isatty():
        return None
    reader = asyncio.StreamReader(limit=MAX_LINE)
    try:
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except ValueError:
        return None
    return Lines(reader)
