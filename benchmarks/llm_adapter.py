"""What the way from a provider's bytes to deltas costs: the parser alone, and a whole request.

    python -m benchmarks.llm_adapter                                     # the parser
    python -m benchmarks.llm_adapter --base-url http://127.0.0.1:9100/v1 --model n200 --turns 1000

The second form needs an OpenAI-compatible server that answers at once; give it another core (`taskset`). Printed is
the CPU time of this process for a turn, one at a time and 32 at a time, with 20 messages of history.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time

import orjson
import uvloop

from app.llm.base import LLMRequest
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.parse import StreamParser

TOKENS = 20_000
ROUNDS = 5
HISTORY = LLMRequest([orjson.dumps({"role": "user", "content": "word " * 20})] * 20)


def event(number: int, created: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" t{number}"}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": created, "model": "model"}
    return b"data: " + orjson.dumps({**head, "system_fingerprint": "fp_0123456789", "choices": [choice]}) + b"\n\n"


def parse_ns(size: int, *, changing_frames: bool) -> float:
    """Nanoseconds a token, best of some rounds, with `size` events in a read."""
    events = [event(n, 1_760_000_000 + (n % 7 if changing_frames else 0)) for n in range(TOKENS)]
    reads = [b"".join(events[at : at + size]) for at in range(0, TOKENS, size)]
    best = float("inf")
    for _ in range(ROUNDS):
        parser = StreamParser()
        begun = time.perf_counter()
        chunks = sum(len(delta.chunks) for read in reads for delta in parser.feed(read))
        best = min(best, time.perf_counter() - begun)
        assert chunks == TOKENS
    return best / TOKENS * 1e9


async def request_us(base_url: str, model: str, turns: int, at_once: int) -> float:
    """Microseconds of CPU a turn."""
    llm = OpenAICompatible("benchmark", OpenAISettings(model, base_url))

    async def turn() -> None:
        stream = llm.stream(HISTORY)
        while await stream.read():
            pass

    for _ in range(50):
        await turn()
    begun = time.process_time()
    for _ in range(turns // at_once):
        await asyncio.gather(*(turn() for _ in range(at_once)))
    spent = time.process_time() - begun
    await llm.close()
    return spent / (turns // at_once * at_once) * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--base-url")
    arguments.add_argument("--model", default="n200")
    arguments.add_argument("--turns", type=int, default=1000)
    given = arguments.parse_args()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    if given.base_url is None:
        for size in (1, 2, 8, 64, 200):
            same, changing = (parse_ns(size, changing_frames=c) for c in (False, True))
            print(f"{size:4} events a read: {same:5.0f} ns/token, {changing:5.0f} where the frame changes")
        return
    for at_once in (1, 32):
        spent = uvloop.run(request_us(given.base_url, given.model, given.turns, at_once))
        print(f"{given.model}, {at_once} at a time: {spent:.0f} us of CPU a turn")


if __name__ == "__main__":
    main()
