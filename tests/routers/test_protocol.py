"""One connection and what its client may do with it."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.config.server import ServerConfig
from app.routers.open_files import OpenFiles, raise_limit
from app.routers.protocol import BoundedProtocol

HOST = b"Host: localhost\r\n"


class Echo:
    """Answers with what it was asked and what came with it. While `gate` is set, requests wait for it."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self.begun = 0
        self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        if self.gate is not None:
            await self.gate.wait()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        headers = [[name.decode(), value.decode("latin-1")[:100]] for name, value in scope["headers"]]
        told = json.dumps({"path": scope["path"], "headers": headers, "body": body.decode()}).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]},
        )
        await send({"type": "http.response.body", "body": told})


class Line:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Each piece is a read of its own at the server."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0.002)

    async def answer(self) -> tuple[int, Any]:
        """Status and JSON of the next answer."""
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            return int(head.split()[1]), json.loads(await self._reader.readexactly(length))

    async def refusal(self) -> tuple[int, str]:
        """Status and reason of an answer that is the connection's last."""
        status, told = await self.answer()
        assert await self.is_closed()
        return status, told["error"]["reason"]

    async def is_closed(self) -> bool:
        """Waits for it. A reset counts: what was not read any more was lost on purpose."""
        async with asyncio.timeout(5):
            try:
                return await self._reader.read() == b""
            except ConnectionResetError:
                return True


Open = Callable[..., Any]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def connect(echo: Echo) -> AsyncIterator[Open]:
    """Opens a connection to a server with these limits."""
    servers: list[asyncio.Server] = []
    files = OpenFiles()

    @asynccontextmanager
    async def opened(**limits: Any) -> AsyncIterator[Line]:
        config = uvicorn.Config(echo, ws="none", lifespan="off", log_config=None, access_log=False)
        config.load()
        server = ServerConfig.model_validate(limits)
        state = ServerState()
        servers.append(
            await asyncio.get_running_loop().create_server(
                lambda: BoundedProtocol(server, files, config, state, {}), "127.0.0.1", 0
            )
        )
        reader, writer = await asyncio.open_connection(*servers[-1].sockets[0].getsockname())
        yield Line(reader, writer)
        writer.close()

    yield opened
    for each in servers:
        each.close()


def get(path: str = "/", *headers: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n" % path.encode() + HOST + b"".join([header + b"\r\n" for header in headers]) + b"\r\n"


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# -- how much ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20_000, 700])
@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (get("/", b"X: " + b"x" * 5000), 431, "headers_too_large"),
        (get("/", b"X" * 5000 + b": x"), 431, "headers_too_large"),
        (get("/", *[b"X: " + b"x" * 100] * 45), 431, "headers_too_large"),
        (get("/", *[b"X: x"] * 60), 431, "headers_too_large"),
        (get("/" + "x" * 2000), 414, "url_too_long"),
        (get("/?x=" + "x" * 8000), 414, "url_too_long"),
        (get("/", b"X: " + b"x" * 5000)[:-4], 431, "headers_too_large"),
        (get("/?x=" + "x" * 8000)[:-50], 414, "url_too_long"),
    ],
)
async def test_a_head_beyond_a_limit_is_refused_however_it_arrives(
    connect: Open, echo: Echo, request_: bytes, status: int, reason: str, size: int
) -> None:
    async with connect(max_header="4KiB", max_headers=50, max_url="1KiB") as line:
        await line.send(*cut(request_, size))
        assert await line.refusal() == (status, reason)
    assert echo.begun == 0


async def test_a_head_at_its_limits_is_taken(connect: Open) -> None:
    async with connect(max_header="4KiB", max_headers=10, max_url=50) as line:
        await line.send(get("/" + "x" * 49, *[b"X: " + b"x" * 420] * 9))
        assert (await line.answer())[0] == 200


async def test_a_large_body_is_no_large_head(connect: Open) -> None:
    body = b"x" * 300_000
    async with connect(max_header="1KiB") as line:
        await line.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\n" + body)
        assert len((await line.answer())[1]["body"]) == 300_000
        await line.send(
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
            *[b"1\r\nx\r\n" * 1000] * 3,
            b"0\r\n\r\n",
        )
        assert len((await line.answer())[1]["body"]) == 3000


@pytest.mark.parametrize("junk", [b"0\r\nX: ", b"5;x="])
async def test_trailers_and_extensions_of_chunks_have_a_limit(connect: Open, echo: Echo, junk: bytes) -> None:
    async with connect(max_header="4KiB") as line:
        head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        await line.send(head, junk, *[b"x" * 1000] * 6)
        assert await line.refusal() == (431, "headers_too_large")
    assert echo.left == 1


async def test_the_rest_of_a_refused_request_is_not_kept(connect: Open) -> None:
    async with connect() as line:
        with pytest.raises(ConnectionError):
            await line.send(b"GET / HTTP/1.1\r\nX: ", *[b"x" * 1_000_000] * 100)


# -- what counts ------------------------------------------------------------------------------------


async def test_trailers_are_no_headers(connect: Open) -> None:
    async with connect() as line:
        await line.send(
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"X-User-Id: ann\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
            + b"2\r\nhi\r\n0\r\nAuthorization: Bearer k\r\nX-User-Id: eve\r\nHost: evil\r\nExpect: 100-continue\r\n\r\n"
        )
        told = (await line.answer())[1]
        assert told["body"] == "hi"
        assert [name for name, _ in told["headers"]] == ["host", "x-user-id", "transfer-encoding", "trailer"]
        await line.send(get("/next"))
        assert (await line.answer())[1] == {"path": "/next", "headers": [["host", "localhost"]], "body": ""}


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        b"Connection: upgrade, keep-alive\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.3, other\r\n",
    ],
)
@pytest.mark.parametrize("size", [10_000, 30])
async def test_a_wish_for_another_protocol_is_ignored_and_its_body_is_not(
    connect: Open, upgrade: bytes, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    request = b"POST /a?b HTTP/1.1\r\n" + HOST + upgrade + b"Content-Length: 4\r\n\r\nbody"
    chunked = b"POST /c HTTP/1.1\r\n" + HOST + upgrade + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    async with connect() as line:
        await line.send(*cut(request + chunked + get("/d"), size))
        told = [(await line.answer())[1] for _ in range(3)]
    assert [(each["path"], each["body"]) for each in told] == [("/a", "body"), ("/c", "body"), ("/d", "")]
    assert "upgrade" not in [name for name, _ in told[0]["headers"]]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_told_so(connect: Open, echo: Echo, junk: bytes) -> None:
    async with connect() as line:
        await line.send(junk)
        assert await line.refusal() == (400, "invalid_http")
    assert echo.begun == 0


# -- several requests -------------------------------------------------------------------------------


async def test_requests_that_wait_behind_another_are_few(connect: Open, echo: Echo) -> None:
    echo.gate = asyncio.Event()
    async with connect(max_pipelined=5) as line:
        await line.send(*cut(b"".join([get(f"/{number}") for number in range(20_000)]), 65536))
        echo.gate.set()
        answers = [(await line.answer())[1]["path"] for _ in range(6)]
        assert await line.is_closed()
    assert answers == [f"/{number}" for number in range(6)]
    assert echo.begun == 6


async def test_junk_behind_a_request_does_not_enter_its_answer(connect: Open, echo: Echo) -> None:
    echo.gate = asyncio.Event()
    async with connect() as line:
        await line.send(get("/a"), get("/b") + b"\x16\x03\x01")
        echo.gate.set()
        assert [(await line.answer())[1]["path"] for _ in range(2)] == ["/a", "/b"]
        assert await line.is_closed()


# -- how long ---------------------------------------------------------------------------------------


async def test_a_connection_that_says_nothing_is_closed_without_a_word(connect: Open) -> None:
    async with connect(header_timeout="50ms") as line:
        assert await line.is_closed()


@pytest.mark.parametrize("before", [b"", get("/first")])
async def test_a_head_takes_its_time_and_no_longer(connect: Open, before: bytes) -> None:
    async with connect(header_timeout="100ms") as line:
        if before:
            await line.send(before)
            await line.answer()
        await line.send(*[bytes([letter]) for letter in b"GET / HTTP/1.1\r\nX: "])
        sending = asyncio.create_task(line.send(*[b"x"] * 10_000))
        assert await line.refusal() == (408, "request_timeout")
        sending.cancel()


@pytest.mark.parametrize("pieces", [0, 10_000])
async def test_a_body_that_does_not_come_or_drips_is_given_up(connect: Open, echo: Echo, pieces: int) -> None:
    async with connect(body_timeout="100ms", min_body_rate="100KiB") as line:
        await line.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n")
        sending = asyncio.create_task(line.send(*[b"x"] * pieces))
        assert await line.refusal() == (408, "request_timeout")
        sending.cancel()
    assert echo.left == 1


async def test_a_body_that_comes_slowly_but_surely_is_taken(connect: Open) -> None:
    async with connect(body_timeout="100ms", min_body_rate=1000) as line:
        await line.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 15000\r\n\r\n", *[b"x" * 100] * 150)
        status, told = await line.answer()
    assert (status, len(told["body"])) == (200, 15_000)


async def test_a_body_that_we_do_not_take_is_waited_for(connect: Open, echo: Echo) -> None:
    echo.gate = asyncio.Event()
    async with connect(body_timeout="50ms", min_body_rate="1MiB") as line:
        sending = asyncio.create_task(
            line.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 9_000_000)
        )
        await asyncio.sleep(0.2)  # it is what must not matter
        echo.gate.set()
        status, told = await line.answer()
        await sending
    assert (status, len(told["body"])) == (200, 9_000_000)


# -- files ------------------------------------------------------------------------------------------


async def test_the_last_files_are_for_signs_of_life(
    connect: Open, echo: Echo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (16, 16))  # of which we have more open than are left
    for path, status in (("/health", 200), ("/ready", 200), ("/base/metrics", 200), ("/agents", 503)):
        async with connect() as line:
            await line.send(get(path))
            found, told = await line.answer()
            assert (path, found) == (path, status)
            assert await line.is_closed()
    assert told["error"]["reason"] == "overloaded"
    assert echo.begun == 3
    assert [record.levelname for record in caplog.records if "files are open" in record.message] == ["WARNING"]


async def test_a_connection_that_holds_one_of_the_last_files_for_nothing_is_closed_soon(
    connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (16, 16))
    monkeypatch.setattr("app.routers.protocol.LINGER_SECONDS", 0.05)
    async with connect() as line:
        assert await line.is_closed()


async def test_of_connections_that_hold_the_last_files_the_newest_is_heard(
    connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (16, 16))  # an eighth of it, and half of that: one
    async with connect() as first, connect() as second:
        assert await first.is_closed()
        await second.send(get("/health"))
        assert (await second.answer())[0] == 200


async def test_a_process_may_open_as_many_files_as_it_may_allow_itself() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
    try:
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
