"""The server with sse-starlette's own response, for comparison: `python -m benchmarks.stock_response serve …`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from app.cli.main import main
from app.routers import streams
from app.routers.frames import DONE, OPENING, EventStream


class StockStream(EventStream):
    """Hands the same bytes, ready, to an unchanged EventSourceResponse; plain views only."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = EventSourceResponse(self._bytes(), headers={"X-Accel-Buffering": "no"})
        await response(scope, receive, send)

    async def _bytes(self) -> AsyncIterator[bytes]:
        reading = self.reading
        body = OPENING
        with reading:
            while True:
                runs = reading.take()
                if runs is None:
                    runs = await reading.replay()
                if runs:
                    body += self._render(runs)
                if body:
                    yield body
                    body = b""
                if self._is_over:
                    return
                if runs:
                    continue
                if self._is_exhausted():
                    yield DONE
                    return
                await reading.wait()


if __name__ == "__main__":
    streams.EventStream = StockStream
    main()
