"""From the fragments in which providers stream tool calls to whole calls.

A fragment says little: an index, an id, a piece of the name, a piece of the arguments, and any of these may be missing,
empty, or the same for several calls. Which call it continues is decided here; what is no call in the end is dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import orjson

from app.llm.base import ToolCall, escape, unescape
from app.llm.dialect import loads

MAX_CALLS = 128
"""Of one answer."""

MAX_BYTES = 2 * 1024 * 1024
"""Of the arguments, names and ids of one answer together, as they came: escapes included."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_EMPTY_OBJECTS = re.compile(r"(?:\{\s*+\}\s*+)++")
_STRUCTURE = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class TooManyCalls(Exception):
    """The answer asks for more than the bounds allow; the message is for users."""


class CallAssembler:
    """Fed with the fragments of one answer in order. Its work is linear in what it is fed with."""

    __slots__ = ("_by_id", "_by_index", "_event", "_legacy", "_max_bytes", "_max_calls", "_size", "_started")

    def __init__(self, *, max_calls: int = MAX_CALLS, max_bytes: int = MAX_BYTES) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._size = 0
        self._event = 0
        self._started: list[OpenCall] = []
        self._legacy: OpenCall | None = None
        self._by_index: dict[object, OpenCall] = {}
        self._by_id: dict[str, OpenCall] = {}

    @property
    def has_begun(self) -> bool:
        return bool(self._started) or self._legacy is not None

    def take(self, told: object) -> list[bytes] | None:
        """What `tool_calls` of one event, or of a whole message, brings: pieces of arguments, escaped.

        `None` when it brings nothing new; an empty list when only a call began.

        Raises:
            TooManyCalls: see `MAX_CALLS` and `MAX_BYTES`.
        """
        self._event += 1
        pieces: list[bytes] = []
        is_news = False
        for fragment in told if isinstance(told, list) else [told]:
            if isinstance(fragment, dict) and fragment:
                has_begun, piece = self._fragment(fragment)
                is_news = is_news or has_begun or bool(piece)
                pieces += [piece] if piece else []
        return pieces if is_news else None

    def take_legacy(self, told: dict[str, Any]) -> list[bytes] | None:
        """The same of a `function_call`. It counts when there is nothing in `tool_calls`: some send both."""
        has_begun = self._legacy is None
        call = self._legacy = self._legacy or OpenCall()
        piece = self._add(call, _text(told.get("name")), _escaped(told.get("arguments")))
        return [piece] if piece else [] if has_begun else None

    def find(self, index: object, call_id: str, name: str = "") -> OpenCall | None:
        """The call that a fragment continues; `None`: it begins one."""
        last = self._started[-1] if self._started else None
        call = self._by_id.get(call_id) if call_id else None
        if index is not None and index in self._by_index:
            at_index = self._by_index[index]
            if not call_id or not at_index.call_id or call_id == at_index.call_id:
                return at_index
            # Another id at the same index is another call, but for servers that make up an id for each fragment.
            return call or (None if name or at_index.is_complete else at_index)
        if call is not None:
            return None if name and index is not None and call.index is not None else call
        if last is None or (index is not None and (name or last.index is not None)):
            return None
        return None if call_id and (name or last.call_id) else last

    def add(self, call: OpenCall, pieces: list[bytes]) -> None:
        """Pieces of arguments, escaped, for a call that was found."""
        self._count(sum(map(len, pieces)))
        call.pieces += pieces

    def finish(self) -> list[ToolCall]:
        """The calls in the order in which they began; without those that have no name, or only repeat another."""
        started = [call for call in self._started if call.name and not call.only_repeats]
        if not started and self._legacy is not None and self._legacy.name:
            started = [self._legacy]
        ids: set[str] = set()
        calls: list[ToolCall] = []
        for call in started:
            call_id = call.call_id if call.call_id and call.call_id not in ids else new_call_id()
            ids.add(call_id)
            calls.append(ToolCall(call_id, call.name, _mended(call.written)))
        return calls

    def _fragment(self, told: dict[str, Any]) -> tuple[bool, bytes]:
        """Whether a call began, and the piece of arguments."""
        function = told.get("function")
        if not isinstance(function, dict):
            function = told
        index, call_id, name = _index(told.get("index")), _text(told.get("id")), _text(function.get("name"))
        call = self.find(index, call_id, name)
        before = None
        if call is not None and name and call.is_followed_by(name, self._event):
            call, before = None, call
        has_begun = call is None
        if call is None:
            call = self._begin(before)
        if call_id and not call.call_id:
            self._count(len(call_id))
            call.call_id = call_id
            self._by_id[call_id] = call
        if index is not None:
            call.index = index
            self._by_index[index] = call
        call.event = self._event
        return has_begun, self._add(call, name, _escaped(function.get("arguments")))

    def _begin(self, before: OpenCall | None) -> OpenCall:
        if len(self._started) == self._max_calls:
            raise TooManyCalls(f"more than {self._max_calls} tool calls in one answer")
        call = OpenCall(before)
        self._started.append(call)
        return call

    def _add(self, call: OpenCall, name: str, piece: bytes) -> bytes:
        self._count(len(name) + len(piece))
        if name:
            call.add_name(name)
        if piece:
            call.pieces.append(piece)
        return piece

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._max_bytes:
            raise TooManyCalls(f"more than {self._max_bytes // 1024} KiB of tool calls in one answer")


class OpenCall:
    """A call of which more may come. `before` is the one it was told apart from by nothing but its name."""

    __slots__ = (
        "_before", "_depth", "_has_value", "_in_escape", "_in_string", "_name", "_names", "_seen", "call_id", "event",
        "index", "pieces",
    )  # fmt: skip

    def __init__(self, before: OpenCall | None = None) -> None:
        self.call_id = ""
        self._before = before
        self.index: object = None
        self.event = 0
        self.pieces: list[bytes] = []
        self._names: list[str] = []
        self._name: str | None = None
        self._seen = 0  # pieces that `is_complete` has looked at
        self._depth = 0
        self._has_value = self._in_string = self._in_escape = False

    def add_name(self, name: str) -> None:
        if not self.pieces or not self._names:  # later it can only be repeated
            self._names.append(name)
            self._name = None

    @property
    def name(self) -> str:
        """The name, from pieces, or from what was sent whole with each fragment."""
        if self._name is None:
            names = self._names
            is_repeated = all(later.startswith(earlier) for earlier, later in pairwise(names))
            self._name = ("".join(names[-1:]) if is_repeated else "".join(names)).strip()
        return self._name

    @property
    def written(self) -> str:
        """The arguments as the model wrote them."""
        return unescape(b"".join(self.pieces)).replace("\0", "\ufffd")

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON value by their brackets; looks at each piece once."""
        for token in self._tokens():
            if token[0] == "\\":
                self._in_escape = len(token) == 1
            elif token == '"':
                self._in_string = not self._in_string
                self._has_value = True
            elif not self._in_string:
                self._depth += 1 if token in "{[" else -1
                self._has_value = True
        return self._has_value and not self._in_string and self._depth <= 0

    def _tokens(self) -> Iterator[str]:
        text = unescape(b"".join(self.pieces[self._seen :]))
        self._seen = len(self.pieces)
        if self._in_escape and text:
            self._in_escape = False
            text = text[1:]
        return map(re.Match.group, _STRUCTURE.finditer(text))

    def is_followed_by(self, name: str, event: int) -> bool:
        """Whether a fragment that looks like one of this call, but has a name, is the first of another."""
        if not self._names:
            return False
        if self.pieces:
            return name != self.name or self.is_complete
        return self.event == event

    @property
    def only_repeats(self) -> bool:
        """Whether the provider told the call before once more: its name, or, under its id, all of it."""
        before = self._before
        if before is None or not before.pieces or self.name != before.name:
            return False
        return not self.pieces or (self.call_id != "" and self.written == before.written)


def new_call_id() -> str:
    """An id for a call that has none."""
    return f"call_{uuid4().hex[:24]}"


def has_whole_arguments(call: ToolCall) -> bool:
    """Whether they are a JSON object; they are not when the answer was cut."""
    try:
        return isinstance(orjson.loads(call.arguments), dict)
    except orjson.JSONDecodeError:
        return False


def _index(index: object) -> object:
    return index if isinstance(index, int | str) and not isinstance(index, bool) and index != "" else None


def _text(text: object) -> str:
    """A name or an id; numbers as ids are seen."""
    if isinstance(text, str):
        return _SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd")
    return str(text) if type(text) is int else ""


def _escaped(arguments: object) -> bytes:
    """A piece of arguments as the inside of a JSON string. Half a surrogate pair stays: its other half may follow."""
    if arguments is None or arguments == "":
        return b""
    text = arguments if isinstance(arguments, str) else _dumped(arguments)
    try:
        return escape(text)
    except TypeError:
        return json.dumps(text)[1:-1].encode()


def _dumped(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half a surrogate pair, a whole number of many digits, a nest of many brackets
        pass
    try:
        return json.dumps(value)
    except RecursionError:
        return "{"  # what is told to be no JSON is refused, and what is left out is not


def _mended(arguments: str) -> str:
    """Arguments without what some servers put around them; `{}` for none."""
    text = arguments.strip()
    if text in ("", "null"):
        return "{}"
    if text[0] == '"':  # JSON in a JSON string
        inner = loads(text.encode(errors="replace"))
        return inner if isinstance(inner, str) and inner.lstrip()[:1] == "{" else arguments
    empty = _EMPTY_OBJECTS.match(text)
    if empty is not None:  # an empty object to begin with, and then the real one
        rest = text[empty.end() :]
        return rest if rest[:1] == "{" else arguments if rest else "{}"
    half = len(text) // 2
    if text[half - 1 : half + 1] == "}{" and text[:half] == text[half:]:
        return text[:half]
    return arguments
