"""WebSocket: what a token costs over a socket, as a ratio to server-sent events of the same server in the same minutes.

python -m benchmarks.websocket --bench DIR [--rounds 5] [--seconds 5]
"""

from __future__ import annotations

import argparse
import json

from benchmarks.beside import Beside, Tally, parser_of
from benchmarks.streams import BODY


def parser() -> argparse.ArgumentParser:
    return parser_of(__doc__)


async def follow(address: str, agent: str, number: int, tally: Tally) -> None:
    from websockets.asyncio.client import connect

    url = f"ws://{address}/agents/{agent}/stream?session_id={agent}-{number}"
    async with connect(url, compression=None, proxy=None) as socket:
        while tally.goes_on:
            await socket.send(BODY)
            text, kind = "", None
            while kind != "turn_finished":
                frame = json.loads(await socket.recv(decode=False))
                kind = frame.get("type")
                tally.messages += 1
                text += frame["chunk"]
            tally.finished(text)


def main(argv: list[str] | None = None) -> None:
    Beside("websocket", "WebSocket", follow).main(parser(), argv)


if __name__ == "__main__":
    main()
