"""A model provider on a real socket that misbehaves by chance: it cuts, stalls, talks nonsense, fails, never ends."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.fixtures.upstream import Reply, Upstream

STRANGE: tuple[Any, ...] = (-1, 2**63, 2**70, 7.0, "7", True, [1], None, {}, 1e308)
GARBAGE = (
    b"data: {\n\n",
    b'data: {"choices": "none"}\n\n',
    b"<html><body>Bad gateway</body></html>",
    b'data: {"error": {"code": 99999999999999999999, "message": "overloaded"}}\n\n',
    b'data: {"choices": [{"delta": {"content": 7}, "finish_reason": [1]}]}\n\ndata: [DONE]\n\n',
    b"\xff\xfe\x00data: \n\n",
    b"",
)


class BadUpstream(Upstream):
    """Every answer has words of its own, so that one that went to the wrong turn is noticed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._number = 0
        self.is_worse = False
        super().__init__()

    @property
    def default(self) -> Reply:
        self._number += 1
        random = self._random
        words = [f" {self._number}.{place}" for place in range(random.randrange(1, 40))]
        delay = random.choice([0.0, 0.001, 0.01])
        if random.random() < (0.1 if self.is_worse else 0.6):
            return Reply(tokens=words, delay=delay)
        match random.randrange(8):
            case 0:
                return Reply(tokens=words, delay=delay, cut_after=random.randrange(-1, len(words)))
            case 1:
                return Reply(tokens=words, delay=delay, hang=random.choice(["before_headers", "after_headers"]))
            case 2:
                return Reply(tokens=words, delay=delay, hang="after_tokens")
            case 3:
                return Reply(raw=[random.choice(GARBAGE) for _ in range(random.randrange(1, 4))])
            case 4:
                strange = random.choice(STRANGE)
                usage = {"prompt_tokens": strange, "completion_tokens": random.choice([7, strange])}
                return Reply(tokens=words, delay=delay, usage=usage)
            case 5:
                return Reply(status=random.choice([400, 401, 429, 500, 503]))
            case 6:
                return Reply(tokens=[f" {self._number}.{place}" for place in range(4000)], delay=0.002)
            case _:
                return Reply(tokens=words, delay=delay, error_after=random.randrange(len(words)))

    @default.setter
    def default(self, _: Reply) -> None:
        """What the base class sets when it is made."""
