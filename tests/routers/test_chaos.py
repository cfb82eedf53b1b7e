"""Chaos: how a stream breaks on request in development mode."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.domain.errors import InvalidRequest
from app.routers.development import Chaos, Development, read_chaos

STREAM = "/agents/a/sessions/s/messages/stream"


@pytest.mark.parametrize(
    ("words", "chaos"),
    [
        ("drop:20", Chaos(drop_after=20)),
        ("drop:0", Chaos(drop_after=0)),
        ("stall:5s", Chaos(stall_seconds=5)),
        ("slow:300", Chaos(slow_seconds=0.3)),
        ("slow:1s", Chaos(slow_seconds=1)),
        ("slow:50, stall:1m,drop:7", Chaos(7, 60, 0.05)),
    ],
)
def test_chaos_is_read(words: str, chaos: Chaos) -> None:
    assert read_chaos(words) == chaos


@pytest.mark.parametrize(
    "words", ["", "drop", "drop:x", "drop:-1", "drop:²", "stall:", "stall:soon", "fast:3", "drop:1;2"]
)
def test_other_words_are_told_what_there_is(words: str) -> None:
    with pytest.raises(InvalidRequest, match="drop:20"):
        read_chaos(words)


class Streaming:
    """An application that sends frames as long as it has any and its reader is there."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = bodies
        self.was_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.ensure_future(self._watch(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in self.bodies:
            await asyncio.sleep(0)
            if self.was_left:
                return
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        watcher.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.was_left = True


async def sent_by(app: Streaming, chaos: str, *, path: str = STREAM) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    scope = {"type": "http", "method": "GET", "path": path, "query_string": f"chaos={chaos}".encode(), "headers": []}
    await Development(app)(scope, receive, send)
    return sent


FRAMES = [b": hi\n\nid: 1\ndata: a\n\n", b"data: b\n\ndata: c\n\n", b": heartbeat\n\n", b"data: d\n\n"]


async def test_a_dropped_stream_has_so_many_frames_and_no_end() -> None:
    app = Streaming(*FRAMES, *[b"data: more\n\n"] * 1000)
    sent = await sent_by(app, "drop:3")
    assert b"".join([message.get("body", b"") for message in sent]) == b"".join(FRAMES[:3])
    assert not any(message.get("more_body") is False for message in sent)
    assert app.was_left


async def test_a_slow_stream_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("app.routers.development.asyncio.sleep", note)
    sent = await sent_by(Streaming(*FRAMES), "slow:300,stall:5s")
    assert b"".join([message.get("body", b"") for message in sent]) == b"".join(FRAMES)
    assert sent[-1]["more_body"] is False
    assert [wait for wait in waits if wait] == [0.3, 0.3, 5, 0.3, 0.3]


async def test_what_is_no_stream_is_left_alone() -> None:
    sent = await sent_by(Streaming(*FRAMES), "drop:0", path="/agents/a/messages")
    assert b"".join([message.get("body", b"") for message in sent]) == b"".join(FRAMES)
