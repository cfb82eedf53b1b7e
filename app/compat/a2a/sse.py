"""SSE: the stream of a task in version 1.0. Text goes from the log into its frames without protobuf between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import orjson
from a2a.utils.errors import A2AError
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict
from starlette.types import Receive, Scope, Send

from app.compat.a2a.events import Text, Update
from app.compat.a2a.service import Followed, Service
from app.compat.a2a.tasks import ARTIFACT
from app.conversation.stream import Silence, leave
from app.doors.answers import GUARDED
from app.doors.dependencies import gone
from app.doors.direct_send import server_send

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
    *GUARDED,
]
_HEARTBEAT = b": heartbeat %b\n"
"""One line end: a blank line behind it would end a block without data, which some clients hand on as an event."""


class Frames:
    """The frames of one stream. `wrap`: the binding's envelope around a StreamResponse, as (before, behind)."""

    def __init__(self, task_id: str, context_id: str, wrap: tuple[bytes, bytes]) -> None:
        before, behind = wrap
        self._before, self._behind = b"data: " + before, behind + b"\n\n"
        ids = b'"taskId":%b,"contextId":%b' % (orjson.dumps(task_id), orjson.dumps(context_id))
        self._head = self._before + b'{"artifactUpdate":{%b,"artifact":{"artifactId":"%b","parts":[{"text":"' % (
            ids,
            ARTIFACT.encode(),
        )
        self._first = b'"}]}}}' + self._behind
        self._more = b'"}]},"append":true}}' + self._behind
        self._last = b'"}]},"append":true,"lastChunk":true}}' + self._behind

    def encode(self, updates: Iterable[Text | Update]) -> bytes:
        return b"".join([self._encode(update) for update in updates])

    def _encode(self, update: Text | Update) -> bytes:
        if isinstance(update, Text):
            tail = self._last if update.is_last else self._first if update.is_first else self._more
            return self._head + update.escaped + tail
        return self._before + orjson.dumps(MessageToDict(to_stream_response(update))) + self._behind


class TaskStream:
    """An ASGI application: a task that is followed, to one reader. `show_error` makes an error the binding's JSON."""

    def __init__(
        self,
        service: Service,
        followed: Followed,
        wrap: tuple[bytes, bytes],
        show_error: Callable[[A2AError], object],
    ) -> None:
        self._service = service
        self._followed = followed
        self._frames = Frames(followed.first.id, followed.first.context_id, wrap)
        self._show_error = show_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = self._followed.reading
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            headers = [*_HEADERS, (b"x-request-id", scope.get("request_id", "").encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            send = server_send(scope, send)
            await _send(send, self._frames.encode([self._followed.first]))
            try:
                async for part in self._service.updates(self._followed):
                    if isinstance(part, Silence):
                        await _send(send, _HEARTBEAT % orjson.dumps(part.phase))
                    else:
                        await _send(send, self._frames.encode(part))
            except A2AError as error:
                await _send(send, b"event: error\ndata: %b\n\n" % orjson.dumps(self._show_error(error)))
            if not reading.gone:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watcher.cancel()

    async def _watch(self, receive: Receive) -> None:
        await gone(receive)
        leave(self._followed.reading)


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
