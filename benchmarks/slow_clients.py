"""Slow clients: for each door a reader of one turn that takes 300 bytes a second, or nothing, until told to hurry.

They are written by hand on sockets whose receive buffers are small, because a client library reads ahead. gRPC cannot
be: there the library takes what its window of flow control allows, and the program behind it takes messages slowly.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

BYTES = 300
"""Read once a second."""
RECEIVE_BUFFER = 4096
_TEXT, _PING, _PONG = 1, 9, 10
_ENDS = (b'"turn_finished"', b'"Idle"')


@dataclass(frozen=True)
class Followed:
    """A turn, and where to read it. `key` and `message`: with what it was begun, for doors that attach by that."""

    port: int
    grpc_address: str
    agent: str
    session_id: str
    turn_id: str
    key: str = "slow"
    message: str = "go"
    after: int | None = None
    """The cursor to read from, at doors that have one; `None`: from the start of the open turn."""


class SlowClient(Protocol):
    """`open` it, `read` it in a task, ask for its `text` at the end; then `close` it."""

    received: int
    """Bytes of the stream so far; for gRPC, of text."""

    async def open(self) -> None:
        """Returns when the server has accepted the request and nothing of the stream was read."""
        ...

    async def read(self, hurry: asyncio.Event, *, is_deaf: bool) -> None:
        """Read slowly until `hurry`, then to the end. Raises ConnectionError: the stream was cut."""
        ...

    def text(self) -> str: ...

    def close(self) -> None: ...


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose system, and whose reader, keep little of what was not read."""
    pipe = socket.socket()
    pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    pipe.connect(("127.0.0.1", port))
    return await asyncio.open_connection(sock=pipe, limit=RECEIVE_BUFFER // 2)


async def pieces(reader: asyncio.StreamReader, hurry: asyncio.Event, *, is_deaf: bool) -> Any:
    """What arrives, at the pace of a slow client until `hurry`."""
    if is_deaf:
        await hurry.wait()
    while piece := await reader.read(1 << 16 if hurry.is_set() else BYTES):
        yield piece
        if not hurry.is_set():
            waiting = asyncio.ensure_future(hurry.wait())
            await asyncio.wait([waiting], timeout=1)
            waiting.cancel()


class HttpClient:
    """A stream of server-sent events. `show` gives the text in one JSON object of it."""

    def __init__(self, port: int, request: bytes, show: Callable[[dict[str, Any]], str]) -> None:
        self.received = 0
        self._port = port
        self._request = request
        self._show = show
        self._parts: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        self._reader, self._writer = await connect(self._port)
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise ConnectionError(f"{head!r} {await self._reader.read(1000)!r}")

    async def read(self, hurry: asyncio.Event, *, is_deaf: bool) -> None:
        async for piece in pieces(self._reader, hurry, is_deaf=is_deaf):
            self.received += len(piece)
            self._parts.append(piece)
        if not self._parts or not self._parts[-1].endswith(b"0\r\n\r\n"):
            raise ConnectionError("the stream was cut")

    def text(self) -> str:
        lines = _dechunked(b"".join(self._parts)).split(b"\n")
        found = [line[6:] for line in lines if line.startswith(b"data: {")]
        return "".join([self._show(json.loads(line)) for line in found])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    place = 0
    while True:
        end = body.index(b"\r\n", place)
        size = int(body[place:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        place = end + size + 4


class SocketClient:
    """A WebSocket. `ask` is its first message; `show` gives the text in one message."""

    def __init__(self, port: int, path: str, ask: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> None:
        self.received = 0
        self.messages: list[bytes] = []
        self._port = port
        self._path = path
        self._ask = ask
        self._show = show
        self._rest = bytearray()
        self.writer: asyncio.StreamWriter | None = None

    async def open(self, *, ahead: bytes = b"") -> None:
        """`ahead`: requests before the handshake, whose answer is left to be read then."""
        self.reader, self.writer = await connect(self._port)
        self.writer.write(
            ahead
            + b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n" % self._path.encode()
            + b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        if not ahead and not (head := await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(repr(head))
        if self._ask:
            self.ask(**self._ask)

    def ask(self, **message: Any) -> None:
        self.send(json.dumps(message).encode())

    def send(self, payload: bytes, *, opcode: int = _TEXT) -> None:
        assert self.writer is not None
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.writer.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)  # a mask of zeros changes nothing

    async def read(self, hurry: asyncio.Event, *, is_deaf: bool) -> None:
        async for piece in pieces(self.reader, hurry, is_deaf=is_deaf):
            self.received += len(piece)
            self._take(piece)
            if self.messages and any(end in self.messages[-1][-400:] for end in _ENDS):
                return
        raise ConnectionError("the socket was closed")

    def _take(self, piece: bytes) -> None:
        """Keep the messages that are complete, and answer pings."""
        rest = self._rest
        rest += piece
        while len(rest) > 1:
            opcode, size, start = rest[0] & 15, rest[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(rest[2:start], "big")
            if len(rest) < start + size:
                return
            payload = bytes(rest[start : start + size])
            del rest[: start + size]
            if opcode == _TEXT:
                self.messages.append(payload)
            elif opcode == _PING:
                self.send(payload, opcode=_PONG)

    def text(self) -> str:
        return "".join([self._show(json.loads(message)) for message in self.messages])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class GrpcClient:
    """A stream of messages. `begin` makes the call on a channel of its own; `show` gives the text in one message."""

    def __init__(self, address: str, begin: Callable[[Any], Any], show: Callable[[Any], str]) -> None:
        self.received = 0
        self._address = address
        self._begin = begin
        self._show = show
        self._texts: list[str] = []
        self._channel: Any = None

    async def open(self) -> None:
        import grpc

        # Without a probe of the line the window stays what the protocol begins with, 64 KiB.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        self._channel = grpc.aio.insecure_channel(self._address, options=options)
        self._call = self._begin(self._channel)
        await self._call.initial_metadata()

    async def read(self, hurry: asyncio.Event, *, is_deaf: bool) -> None:
        import grpc

        if is_deaf:
            await hurry.wait()
        try:
            async for message in self._call:
                text = self._show(message)
                self._texts.append(text)
                self.received += len(text)
                if not hurry.is_set():
                    waiting = asyncio.ensure_future(hurry.wait())
                    await asyncio.wait([waiting], timeout=max(len(text), BYTES) / BYTES)
                    waiting.cancel()
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(str(error)) from error

    def text(self) -> str:
        return "".join(self._texts)

    def close(self) -> None:
        if self._channel is not None:
            self._call.cancel()
            self._closing = asyncio.ensure_future(self._channel.close())


# -- the doors ----------------------------------------------------------------------------------------------------


def _request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    given = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(given)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode() + given


def sse(turn: Followed) -> SlowClient:
    after = "" if turn.after is None else f"&after={turn.after}"
    path = f"/agents/{turn.agent}/sessions/{turn.session_id}/messages/stream?until=turn_end{after}"
    return HttpClient(turn.port, _request("GET", path), lambda frame: "" if "type" in frame else frame["chunk"])


def websocket(turn: Followed) -> SocketClient:
    ask = {"type": "attach", "session_id": turn.session_id}
    path = f"/agents/{turn.agent}/stream"
    return SocketClient(turn.port, path, ask, lambda frame: "" if "type" in frame else frame["chunk"])


def grpc(turn: Followed) -> SlowClient:
    def begin(channel: Any) -> Any:
        from app.rpc.generated import hector_pb2 as pb
        from app.rpc.generated.hector_pb2_grpc import A2AServiceStub

        asked = pb.FollowSessionRequest(
            agent=turn.agent, session_id=turn.session_id, until_turn_end=True, after=turn.after
        )
        return A2AServiceStub(channel).FollowSession(asked)  # type: ignore[no-untyped-call]

    return GrpcClient(turn.grpc_address, begin, lambda chunk: chunk.content if chunk.type == "text" else "")


def chat(turn: Followed) -> SlowClient:
    body = {"model": turn.agent, "stream": True, "messages": [{"role": "user", "content": turn.message}]}
    named = {"Idempotency_Key": turn.key, "X_Hector_Session": turn.session_id}
    return HttpClient(
        turn.port,
        _request("POST", "/v1/chat/completions", body, **named),
        lambda chunk: "".join([choice["delta"].get("content") or "" for choice in chunk["choices"]]),
    )


def _delta(event: dict[str, Any]) -> str:
    return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""


def responses(turn: Followed) -> SlowClient:
    body = {"model": turn.agent, "stream": True, "conversation": turn.session_id, "input": turn.message}
    return HttpClient(turn.port, _request("POST", "/v1/responses", body, Idempotency_Key=turn.key), _delta)


def responses_again(turn: Followed) -> SlowClient:
    """The events of a response that another request began."""
    path = f"/v1/responses/{turn.turn_id.replace('turn_', 'resp_')}?stream=true"
    return HttpClient(turn.port, _request("GET", path), _delta)


def _artifact(update: dict[str, Any]) -> str:
    return "".join([part["text"] for part in update.get("artifactUpdate", {}).get("artifact", {}).get("parts", ())])


def a2a(turn: Followed) -> SlowClient:
    body = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": turn.turn_id}}
    asked = _request("POST", f"/agents/{turn.agent}/a2a", body, A2A_Version="1.0")
    return HttpClient(turn.port, asked, lambda answer: _artifact(answer["result"]))


def a2a_rest(turn: Followed) -> SlowClient:
    path = f"/agents/{turn.agent}/a2a/rest/tasks/{turn.turn_id}:subscribe"
    return HttpClient(turn.port, _request("GET", path, A2A_Version="1.0"), _artifact)


def a2a_grpc(turn: Followed) -> SlowClient:
    def begin(channel: Any) -> Any:
        from a2a.types import SubscribeToTaskRequest
        from a2a.types.a2a_pb2_grpc import A2AServiceStub

        stub = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        return stub.SubscribeToTask(SubscribeToTaskRequest(tenant=turn.agent, id=turn.turn_id))

    def show(update: Any) -> str:
        if not update.HasField("artifact_update"):
            return ""
        return "".join([part.text for part in update.artifact_update.artifact.parts])

    return GrpcClient(turn.grpc_address, begin, show)


def agui(turn: Followed) -> SlowClient:
    said = [{"id": "m1", "role": "user", "content": turn.message}]
    body = {"threadId": turn.session_id, "runId": turn.key, "messages": said, "tools": [], "context": [], "state": {}}
    return HttpClient(
        turn.port,
        _request("POST", f"/agents/{turn.agent}/agui", body),
        lambda event: event["delta"] if event["type"] == "TEXT_MESSAGE_CONTENT" else "",
    )


def ui(turn: Followed) -> SlowClient:
    path = f"/agents/{turn.agent}/ui/{turn.session_id}/stream"
    return HttpClient(
        turn.port, _request("GET", path), lambda chunk: chunk["delta"] if chunk["type"] == "text-delta" else ""
    )


def mcp(turn: Followed) -> SlowClient:
    version = "2026-07-28"
    meta = {
        "progressToken": 1,
        "hector/idempotencyKey": turn.key,
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    arguments = {"message": turn.message, "session_id": turn.session_id}
    params = {"name": turn.agent, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"MCP_Protocol_Version": version, "Mcp_Method": "tools/call", "Mcp_Name": turn.agent}
    asked = _request("POST", "/mcp", body, Accept="application/json, text/event-stream", **headers)

    def show(found: dict[str, Any]) -> str:
        params = found.get("params", {})
        return str(params["message"]) if params.get("_meta", {}).get("hector/type") == "text" else ""

    return HttpClient(turn.port, asked, show)


def vectorshift(turn: Followed) -> SlowClient:
    ask = {"type": "connect_session", "session_id": turn.session_id}
    return SocketClient(
        turn.port, "/v1/ws/session", ask, lambda frame: frame["value"] if frame["type"] == "message_delta" else ""
    )


DOORS: dict[str, Callable[[Followed], SlowClient]] = {
    "sse": sse,
    "websocket": websocket,
    "grpc": grpc,
    "openai-chat": chat,
    "openai-responses": responses,
    "openai-responses-again": responses_again,
    "a2a": a2a,
    "a2a-rest": a2a_rest,
    "a2a-grpc": a2a_grpc,
    "agui": agui,
    "ui": ui,
    "mcp": mcp,
    "vectorshift": vectorshift,
}
BEGIN = frozenset({"openai-chat", "openai-responses", "agui", "mcp"})
"""Doors whose readers attach by sending the message again that began the turn: the first of them begins it."""
