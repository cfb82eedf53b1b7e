"""VectorShift: what a token costs through that door, as a ratio to server-sent events of the same server and minutes.

    python -m benchmarks.vectorshift --bench DIR [--rounds 5] [--seconds 5]

The deltas of an answer must add up to all its tokens, and to the text of its last frame.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.beside import Beside, Tally, parser_of

OPEN = "compat: {vectorshift: {enabled: true}}\n"


def parser() -> argparse.ArgumentParser:
    return parser_of(__doc__)


async def follow(address: str, agent: str, number: int, tally: Tally) -> None:
    from websockets.asyncio.client import connect

    session_id = f"{agent}-{number}"
    async with connect(f"ws://{address}/v1/ws/session", compression=None, proxy=None) as socket:
        await socket.send(json.dumps({"type": "connect_session", "session_id": session_id}))
        while tally.goes_on:
            await socket.send(json.dumps({"type": "post_message", "session_id": session_id, "content": "go"}))
            text, whole = "", None
            while whole is None:
                frame = json.loads(await socket.recv())
                tally.messages += 1
                if frame["type"] == "message_delta":
                    text += frame["value"]
                elif frame["type"] == "message_notification":
                    whole = frame["message"]["content"]["value"]
            if text != whole:
                raise SystemExit(f"void: a socket read {text[:200]!r}, and as a whole {whole[:200]!r}")
            tally.finished(text)


def main(argv: list[str] | None = None) -> None:
    Beside("vectorshift", "VectorShift", follow, more=OPEN).main(parser(), argv)


if __name__ == "__main__":
    main()
