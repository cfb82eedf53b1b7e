"""A server as a child process that speaks MCP on its standard input and output, one JSON message a line.

Our own instead of the SDK's: messages are bounded, the standard error goes to the log, the environment is scrubbed, and
the process is ended with all its descendants in bounded time, whatever it does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import types
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from app.tools.mcp.endpoint import Program
from app.tools.mcp.processes import end_process, marked, new_mark

log = logging.getLogger(__name__)

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE")
"""What a child gets of our environment; keys and addresses of ours are not among it."""
_READ = 64 * 1024
_LINE = 2_000  # characters of a line of standard error that are logged


@asynccontextmanager
async def stdio_streams(
    name: str, program: Program, *, max_message_bytes: int, exit_seconds: float, on_lost: Callable[[str], None]
) -> AsyncIterator[Streams]:
    """Start the program; on leaving, end it and its descendants: it has `exit_seconds` to leave by itself, and again
    after SIGTERM.

    Raises:
        OSError: the program cannot be started.
    """
    mark = new_mark()
    process = await asyncio.create_subprocess_exec(
        program.command,
        *program.args,
        env=_environment(program) | marked(mark),
        cwd=program.cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    to_us, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, to_server = anyio.create_memory_object_stream[SessionMessage](0)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    pumps = [
        asyncio.create_task(_receive(process.stdout, to_us, max_message_bytes, on_lost), name=f"mcp {name} receive"),
        asyncio.create_task(_send(process.stdin, to_server, to_us), name=f"mcp {name} send"),
        asyncio.create_task(_log_lines(process.stderr, name), name=f"mcp {name} stderr"),
    ]
    try:
        yield incoming, outgoing
    finally:
        with anyio.CancelScope(shield=True):
            await end_process(process, mark, exit_seconds)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            for stream in (to_us, incoming, outgoing, to_server):
                stream.close()


def _environment(program: Program) -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | dict(program.env)


async def _receive(
    stdout: asyncio.StreamReader,
    to_us: MemoryObjectSendStream[SessionMessage | Exception],
    max_bytes: int,
    on_lost: Callable[[str], None],
) -> None:
    """Hand on what the server says until it ends; then the other end of the stream learns it."""
    rest = bytearray()
    with to_us, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
        while chunk := await stdout.read(_READ):
            begun = len(rest)
            rest += chunk
            if rest.find(b"\n", begun) >= 0:
                *lines, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                for line in lines:
                    if (message := _message_of(line)) is not None:
                        await to_us.send(message)
            if len(rest) > max_bytes:
                on_lost(f"sent a message of more than {max_bytes} bytes")
                return
        on_lost("ended")


def _message_of(line: bytes) -> SessionMessage | None:
    """`None` for what is no message: many a program prints other things, too."""
    if not line.strip():
        return None
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError:
        pass
    try:  # this parser bears deeper nesting, and half a surrogate pair
        return SessionMessage(types.jsonrpc_message_adapter.validate_python(json.loads(line), by_name=False))
    except (ValueError, RecursionError):
        log.debug("an MCP server printed what is no message: %s", line[:_LINE].decode("utf-8", "replace"))
        return None


async def _send(
    stdin: asyncio.StreamWriter,
    to_server: MemoryObjectReceiveStream[SessionMessage],
    to_us: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    try:
        with to_server:
            async for message in to_server:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(text.encode() + b"\n")
                await stdin.drain()
    except OSError:
        to_us.close()  # whoever waits for an answer learns that none will come


async def _log_lines(stderr: asyncio.StreamReader, name: str) -> None:
    while chunk := await stderr.read(_READ):
        for line in chunk.decode("utf-8", "replace").splitlines():
            log.debug("mcp server %s: %s", name, line[:_LINE])
