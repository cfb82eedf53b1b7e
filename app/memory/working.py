"""Working memory: the choice of messages for the next request to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

MESSAGE_OVERHEAD_TOKENS = 4
"""Tokens of a message beside its text (role and separators), rounded up."""


@dataclass(slots=True)
class Entry:
    """One message as the model receives it, encoded once. Its tokens are counted on first use.

    `role` is the one in `encoded`; `message_id` and `seq` are those of the stored message.
    """

    encoded: bytes
    role: str
    tokens: int | None = None
    message_id: str = ""
    seq: int = 0

    def count(self, count_tokens: Callable[[str], int]) -> int:
        """Tokens of this message, overhead included."""
        if self.tokens is None:
            self.tokens = count_tokens(self.text()) + MESSAGE_OVERHEAD_TOKENS
        return self.tokens

    def text(self) -> str:
        content: str = orjson.loads(self.encoded)["content"]
        return content

    @property
    def is_users(self) -> bool:
        return self.role == "user"

    def at_most(self) -> int:
        """An upper bound on the tokens without counting: no token is shorter than a byte."""
        return len(self.encoded) if self.tokens is None else self.tokens


def entry(role: str, content: str, message_id: str = "", seq: int = 0) -> Entry:
    encoded = orjson.dumps({"role": role, "content": content})
    # A copy: what orjson returns was cut from a buffer of kilobytes, whose rest is lost as long as the object lives.
    return Entry(bytes(memoryview(encoded)), role, None, message_id, seq)


class WorkingMemory(Protocol):
    """A strategy. `history` is the conversation, oldest message first, the newest user message last."""

    def select(self, history: Sequence[Entry]) -> Sequence[Entry]:
        """The messages to send, oldest first; always includes the newest."""
        ...

    def wants_more(self, history: Sequence[Entry]) -> bool:
        """Whether messages older than `history` could still be selected."""
        ...
