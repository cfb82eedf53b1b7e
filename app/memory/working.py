"""Working memory: the choice of messages for the next request to the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from app.domain.message import is_blank

MESSAGE_OVERHEAD_TOKENS = 4
"""Tokens of a message beside its text (role and separators), rounded up; as many again for each call in it."""
NO_OUTPUT = "[This call returned nothing.]"
"""Stands for a blank result: some providers refuse a message without text."""
UNREADABLE = "unreadable_arguments"
"""The argument that holds what a model wrote instead of a JSON object; providers parse the arguments of old calls."""

Call = tuple[str, str, str]
"""Id, name and arguments (JSON text) of a tool call."""

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64


@dataclass(slots=True)
class Result:
    """What a tool message is the result of. `handle` is the id under which the whole result is stored."""

    name: str
    handle: str | None = None
    is_kept: bool = False
    """It never gives way to newer messages."""
    is_cleared: bool = False
    """The message is one line that stands for it."""
    line: Entry | None = field(default=None, repr=False, compare=False)
    """That line, once it was made."""


@dataclass(slots=True)
class Entry:
    """One message as the model receives it, encoded once. Its tokens are counted on first use.

    `role` is the one in `encoded`; `message_id` and `seq` are those of the stored message. `call_ids`: of an assistant
    message, the calls it makes, in order; of a tool message, the one call it is the `result` of; empty for plain text.
    """

    encoded: bytes
    role: str
    tokens: int | None = None
    message_id: str = ""
    seq: int = 0
    call_ids: tuple[str, ...] = ()
    result: Result | None = None

    def count(self, count_tokens: Callable[[str], int]) -> int:
        """Tokens of this message, overhead included."""
        if self.tokens is None:
            overhead = MESSAGE_OVERHEAD_TOKENS * (1 + len(self.call_ids))
            self.tokens = count_tokens(self._counted_text() if self.call_ids else self.text()) + overhead
        return self.tokens

    def text(self) -> str:
        """The content; empty for calls without a text."""
        content: str | None = orjson.loads(self.encoded)["content"]
        return content or ""

    def calls(self) -> list[Call]:
        """The calls of an assistant message, in order."""
        if self.role != "assistant" or not self.call_ids:
            return []
        made: list[dict[str, Any]] = orjson.loads(self.encoded)["tool_calls"]
        return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made]

    def _counted_text(self) -> str:
        calls = [" ".join(call) for call in self.calls()] or self.call_ids
        return "\n".join([*calls, self.text()])

    @property
    def is_users(self) -> bool:
        return self.role == "user"

    def at_most(self) -> int:
        """An upper bound on the tokens without counting: no token is shorter than a byte."""
        return len(self.encoded) if self.tokens is None else self.tokens


def entry(role: str, content: str, message_id: str = "", seq: int = 0) -> Entry:
    return Entry(_encode({"role": role, "content": content}), role, None, message_id, seq)


def calls_entry(content: str, calls: Sequence[Call], message_id: str = "", seq: int = 0) -> Entry:
    """An assistant message that makes calls. A blank `content` is sent as null.

    A name or arguments in a form that providers refuse are put into one that they take.
    """
    made = [
        {"id": call_id, "type": "function", "function": {"name": _name(name), "arguments": _arguments(arguments)}}
        for call_id, name, arguments in calls
    ]
    message = {"role": "assistant", "content": None if is_blank(content) else content, "tool_calls": made}
    return Entry(_encode(message), "assistant", None, message_id, seq, tuple([call[0] for call in calls]))


def tool_entry(
    call_id: str,
    name: str,
    content: str,
    message_id: str = "",
    seq: int = 0,
    *,
    handle: str | None = None,
    is_kept: bool = False,
) -> Entry:
    """The result of a call, as the model gets it."""
    said = NO_OUTPUT if is_blank(content) else content
    message = {"role": "tool", "tool_call_id": call_id, "content": said}
    return Entry(_encode(message), "tool", None, message_id, seq, (call_id,), Result(name, handle, is_kept))


def with_text(calls: Entry, content: str) -> Entry:
    """The same calls, with another text."""
    return calls_entry(content, calls.calls(), calls.message_id, calls.seq)


def _encode(message: dict[str, Any]) -> bytes:
    # A copy: what orjson returns was cut from a buffer of kilobytes, whose rest is lost as long as the object lives.
    return bytes(memoryview(orjson.dumps(message)))


def _name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME] or "unknown"


def _arguments(arguments: str) -> str:
    """A JSON object, as the model wrote it if it did."""
    if is_blank(arguments):
        return "{}"
    try:
        is_object = isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return arguments if is_object else orjson.dumps({UNREADABLE: arguments}).decode()


class WorkingMemory(Protocol):
    """A strategy. `history` is the conversation, oldest message first, the newest user message last."""

    def select(self, history: Sequence[Entry]) -> Sequence[Entry]:
        """The messages to send, oldest first; always includes the newest."""
        ...

    def wants_more(self, history: Sequence[Entry]) -> bool:
        """Whether messages older than `history` could still be selected."""
        ...
