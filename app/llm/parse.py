"""From the bytes of an event stream in the OpenAI dialect to deltas, as cheaply as can be done safely.

Most events of one answer differ in nothing but their text. So the frame around the text is learned from the
first plain event and later ones are compared with it (200 ns a token); an event of another make is matched by
one expression that covers the whole `choices` array (700 ns); everything else goes through the JSON parser,
event by event (2 us), and that way alone would be correct. Text keeps the provider's own escapes. Fragments of tool
calls have such ways of their own (`llm/arguments.py`), so that text pays nothing for them.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from app.llm.arguments import ArgumentsPath
from app.llm.base import CallDelta, Delta, StreamEnd, TextDelta, ThinkingDelta, escape
from app.llm.calls import CallAssembler, TooManyCalls
from app.llm.dialect import Reported, failure_named, failure_of, first_choice, loads, usage_of
from app.llm.escaped import INNER, is_passable

Kind = Literal["text", "thinking"]

MAX_EVENT_BYTES = 2 * 1024 * 1024
"""A larger event (a picture beside the text) is skipped: the answer goes on without it."""

BOM = b"\xef\xbb\xbf"
_MAX_STRAY = 2000
_MAX_LESSONS = 4
_MAX_TAIL = 3  # finish, usage, [DONE]

# One choice, number 0, not finished, with a text and otherwise only nulls; after the array no further object,
# so no usage and no error. Nothing in it reaches over the end of the event: at most one match an event.
_PLAIN = re.compile(
    rb'"choices": *\[ *\{ *(?:"(?:index|finish_reason)": *(?:0|null) *, *)*+'
    rb'"delta": *\{ *(?:"role": *"assistant" *, *)?"content": *"(?!")(' + INNER + rb')" *'
    rb'(?:, *"\w++": *(?:null|"assistant") *)*+\} *(?:, *"(?:index": *0|\w++": *null) *)*+\} *\][^\n{]*+\n\n'
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile(rb"[\r\n]").search
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r").search
_has_calls = re.compile(rb'"tool_calls": *\[ *\{|"function_call": *\{').search
_is_error_name = re.compile(rb"event: *error *").fullmatch
_is_field = re.compile(rb"(?:data|event|id|retry)? *:").match


class StreamParser:
    """Fed with reads of any size, cut anywhere.

    `end` fills as the provider tells, its calls when the answer is complete; `done` is true after `[DONE]`; `failure`
    is what the provider reported inside the stream. After either, input is ignored. `has_choice`: something of an
    answer came, if only its end.
    """

    __slots__ = (
        "_arguments", "_begun", "_calls", "_has_spoken", "_held", "_is_skipping", "_lessons", "_middle", "_middle_size",
        "_prefix", "_rest", "_stray", "_suffix", "done", "end", "failure", "has_choice",
    )  # fmt: skip

    def __init__(self) -> None:
        self.end = StreamEnd()
        self.done = False
        self.failure: Reported | None = None
        self.has_choice = False
        self._rest = b""  # of an event whose end is to come, with what has come in the middle since
        self._middle: list[bytes] = []
        self._middle_size = 0
        self._is_skipping = False
        self._begun = False
        self._has_spoken = False
        self._stray = b""  # the first thing that came and was no answer
        self._prefix = b""
        self._suffix = b""
        self._lessons = 0
        self._held: dict[Kind, str] = {}
        self._calls: CallAssembler | None = None  # until the first fragment of one
        self._arguments: ArgumentsPath | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the provider said that this is all; a body that ends before that was cut."""
        return self.done or self.end.finish_reason is not None

    @property
    def _is_closed(self) -> bool:
        return self.done or self.failure is not None

    @property
    def stray(self) -> str:
        """What the provider sent instead of an answer, as far as it was no failure we understand."""
        return self._stray.decode(errors="replace").strip()

    def feed(self, read: bytes) -> list[Delta]:
        """The deltas of all events that are complete with `read`, in order."""
        if self.done or self.failure is not None:
            return []
        block = read
        if self._rest:
            if _LINE_END(read) is None:
                return self._wait_for_end(read)
            block = b"".join((self._rest, *self._middle, read))
            self._middle, self._middle_size = [], 0
        if self._is_skipping:
            block = self._skip(block)
            if self._is_skipping:
                return []
        ends_whole = block.endswith(b"\n\n")
        if not ends_whole:
            block = self._whole_events(block)
        found = self._same_frame(block)
        if found is not None:
            if ends_whole:
                self._rest = b""
            return [TextDelta(found)]
        if self._arguments is not None:
            found = self._pieces(block)
            if found is not None:
                if ends_whole:
                    self._rest = b""
                return [CallDelta(found)] if found else []
        return self._mixed(self._whole_events(block) if ends_whole else block)

    def finish(self) -> list[Delta]:
        """The body has ended: what was still held back, a last event without its empty line included."""
        deltas: list[Delta] = []
        rest, self._rest = b"".join((self._rest, *self._middle)), b""
        if rest.strip() and not self._is_closed and not self._is_skipping:
            self._event(rest, deltas, is_last=True)
        self._release_held(deltas)
        self._close_calls()
        return deltas

    # ---- cutting ----------------------------------------------------------------------------------------

    def _whole_events(self, block: bytes) -> bytes:
        """All but the last, unfinished event, which waits; lines end in LF."""
        half = b""
        if b"\r" in block:
            # A last CR may be half of a CRLF, so it waits for the next read.
            half = b"\r" if block.endswith(b"\r") else b""
            block = block.removesuffix(half).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        last = block.rfind(b"\n\n")
        cut = 0 if last < 0 else last + 2
        self._rest = block[cut:] + half
        self._drop_too_long()
        return block[:cut]

    def _wait_for_end(self, read: bytes) -> list[Delta]:
        """The middle of an event: put aside, for joining at each read would cost the square of its length."""
        self._middle.append(read)
        self._middle_size += len(read)
        self._drop_too_long()
        return []

    def _drop_too_long(self) -> None:
        if self._is_skipping or len(self._rest) + self._middle_size > MAX_EVENT_BYTES:
            if not self._is_skipping and _has_calls(b"".join((self._rest, *self._middle))):
                self.failure = Reported(f"a tool call of more than {MAX_EVENT_BYTES // 2**20} MiB in one event")
            self._is_skipping = True
            self._rest = b"".join((self._rest, *self._middle[-1:]))[-3:]  # half of its end, perhaps
            self._middle, self._middle_size = [], 0

    def _skip(self, block: bytes) -> bytes:
        """What follows the event that is too long, once its end has come."""
        end = _EVENT_END(block)
        if end is None:
            self._rest = block[-3:]
            return b""
        self._is_skipping = False
        self._rest = b""
        return block[end.end() :]

    # ---- plain text, all events at once -----------------------------------------------------------------

    def _same_frame(self, block: bytes) -> list[bytes] | None:
        """The texts when every event of the block is the learned frame around a text, else nothing."""
        prefix, suffix = self._prefix, self._suffix
        if not prefix or not block.startswith(prefix) or not block.endswith(suffix) or self._held:
            return None
        start, end = len(prefix), len(suffix)
        if block.find(b"\n") == len(block) - 2:
            found = [block[start:-end]]
            return found if is_passable(found) else None
        found = [line[start : 2 - end] for line in block.split(b"\n")[:-1:2]]
        # Put together again it must be the block: then all had this frame and there was no other line.
        if prefix + (suffix + prefix).join(found) + suffix != block:
            return None
        return found if is_passable(found) else None

    def _plain(self, block: bytes) -> list[bytes] | None:
        """The same for events of any plain make; learns the frame of the first."""
        first = _PLAIN.search(block)
        if first is None:
            return None
        if self._learn(block, first):
            found = self._same_frame(block)
            if found is not None:
                return found
        found = [first[1]] if first.end() == len(block) else _PLAIN.findall(block)
        # Each match takes one empty line with it: as many as there are means that every event matched.
        if block.count(b"\n") != 2 * len(found):
            return None
        return found if is_passable(found) else None

    def _learn(self, block: bytes, plain: re.Match[bytes]) -> bool:
        # Some providers change the frame with every event (a clock, a padding): learning more of them gains nothing.
        if self._lessons == _MAX_LESSONS:
            return False
        self._lessons += 1
        before = block.rfind(b"\n\n", 0, plain.start())
        prefix = block[0 if before < 0 else before + 2 : plain.start(1)]
        if not prefix.startswith(b"data:"):
            return False
        self._prefix = prefix
        self._suffix = block[plain.end(1) : plain.end()]
        return True

    # ---- whatever comes ---------------------------------------------------------------------------------

    def _mixed(self, block: bytes) -> list[Delta]:
        """Parse odd events at both ends, where they usually are; and the middle if it is not plain."""
        deltas: list[Delta] = []
        if not block:
            return deltas
        if not self._begun:
            self._begun = True
            block = block.lstrip().removeprefix(BOM)
            cut = block.find(b"\n\n") + 2
            self._event(block[:cut], deltas)
            block = block[cut:]
        tail: list[bytes] = []
        if block and not self._held:
            block, tail = self._without_tail(block)
            found = self._plain(block)
            if found is not None:
                self._has_spoken = self.has_choice = True
                _extend(deltas, found)
                block = b""
        for event in block.split(b"\n\n") + tail:
            if self._arguments is not None and not self._is_closed:
                found = self._pieces(event + b"\n\n")
                if found is not None:
                    _append_pieces(deltas, found)
                    continue
            self._event(event, deltas)
        return deltas

    def _without_tail(self, block: bytes) -> tuple[bytes, list[bytes]]:
        tail: list[bytes] = []
        while len(tail) < _MAX_TAIL and (before := block.rfind(b"\n\n", 0, -2)) > 0:
            last = block[before + 2 :]
            if self._prefix and last.startswith(self._prefix) and last.endswith(self._suffix):
                break
            if _PLAIN.search(last) is not None:
                break
            tail.insert(0, last)
            block = block[: before + 2]
        return block, tail

    def _event(self, event: bytes, deltas: list[Delta], *, is_last: bool = False) -> None:
        if self._is_closed:
            return
        lines = event.split(b"\n")
        told = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        if not told:
            if not self._stray and not all(map(_is_field, filter(None, lines))):
                self._stray = event[:_MAX_STRAY]
            return
        body = b"\n".join(told) if len(told) > 1 else told[0]
        if body.strip() == b"[DONE]":
            self.done = True
            self._release_held(deltas)
            self._close_calls()
        elif body.strip():
            is_error = b"event:" in event and any(_is_error_name(line) for line in lines)
            self._take(body, deltas, is_last=is_last, is_error=is_error)

    def _take(self, body: bytes, deltas: list[Delta], *, is_last: bool, is_error: bool = False) -> None:
        event = loads(body)
        if is_error and not self._is_over:
            self.failure = failure_named(event, body)
        elif isinstance(event, dict):
            self._object(event, deltas, body)
        elif isinstance(event, list) and event and isinstance(event[0], dict):
            self._object(event[0], deltas, body)
        elif not is_last and not self._is_over:  # the last event of a cut body is half an event
            self.failure = Reported("not an event of the OpenAI dialect: " + body[:500].decode(errors="replace"))

    @property
    def _is_over(self) -> bool:
        """Nothing but usage is awaited: what else comes then can no longer spoil the answer."""
        return self.end.finish_reason not in (None, "error")

    def _object(self, event: dict[str, Any], deltas: list[Delta], body: bytes) -> None:
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.end.usage = usage_of(usage) or self.end.usage
        choice = first_choice(event)
        was_over = self._is_over
        if choice is not None:
            self.has_choice = True
            self._choice(choice, deltas)
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason:
                self.end.finish_reason = reason
        elif not self._stray:
            self._stray = body[:_MAX_STRAY]
        if not was_over and self.failure is None:
            self.failure = failure_of(event, choice)

    def _choice(self, choice: dict[str, Any], deltas: list[Delta]) -> None:
        """The delta. Of a whole message counts only what was not said before: some send it once more at the end."""
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict):
            self._said(delta, deltas)
            self._asked(delta, deltas)
        if isinstance(message, dict):
            if not self._has_spoken:
                self._said(message, deltas)
            if self._calls is None or not self._calls.has_begun:
                self._asked(message, deltas)

    def _said(self, delta: dict[str, Any], deltas: list[Delta]) -> None:
        self._text("thinking", delta.get("reasoning_content") or delta.get("reasoning"), deltas)
        content = delta.get("content")
        if isinstance(content, list):
            content = "".join(
                str(p.get("text", "")) for p in content if isinstance(p, dict) and p.get("type") == "text"
            )
        self._text("text", content or delta.get("refusal"), deltas)

    def _text(self, kind: Kind, text: object, deltas: list[Delta]) -> None:
        if not isinstance(text, str) or not text:
            return
        self._has_spoken = True
        if self._held:
            text = self._held.pop(kind, "") + text
        if not text.isascii() and _SURROGATE.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
            if "\ud800" <= text[-1] <= "\udbff":
                self._held[kind] = text[-1]
                text = text[:-1]
            text = _SURROGATE.sub("\ufffd", text)
        if text:
            _append(deltas, kind, escape(text))

    # ---- tool calls -------------------------------------------------------------------------------------

    def _pieces(self, block: bytes) -> list[bytes] | None:
        """The pieces of arguments of a block that has nothing else."""
        assert self._arguments is not None
        try:
            return self._arguments.take(block)
        except TooManyCalls as exc:
            self.failure = Reported(str(exc))
            return []

    def _asked(self, delta: dict[str, Any], deltas: list[Delta]) -> None:
        told, legacy = delta.get("tool_calls"), delta.get("function_call")
        if not (isinstance(told, list | dict) and told) and not isinstance(legacy, dict):
            return
        if self._calls is None or self._arguments is None:
            self._calls = CallAssembler()
            self._arguments = ArgumentsPath(self._calls)
        self._arguments.forget()
        try:
            pieces = self._calls.take(told) if told else self._calls.take_legacy(legacy or {})
        except TooManyCalls as exc:
            self.failure = Reported(str(exc))
            return
        if pieces is not None:
            _append_pieces(deltas, pieces)

    def _close_calls(self) -> None:
        if self._calls is not None and self.is_complete and self.failure is None and not self.end.calls:
            self.end.calls = self._calls.finish()

    def _release_held(self, deltas: list[Delta]) -> None:
        for kind in self._held:
            _append(deltas, kind, escape("\ufffd"))
        self._held = {}


def _extend(deltas: list[Delta], texts: list[bytes]) -> None:
    if deltas and type(deltas[-1]) is TextDelta:
        deltas[-1].chunks += texts
    else:
        deltas.append(TextDelta(texts))


def _append(deltas: list[Delta], kind: Kind, chunk: bytes) -> None:
    made = TextDelta if kind == "text" else ThinkingDelta
    if deltas and type(deltas[-1]) is made:
        deltas[-1].chunks.append(chunk)
    else:
        deltas.append(made([chunk]))


def _append_pieces(deltas: list[Delta], pieces: list[bytes]) -> None:
    if deltas and type(deltas[-1]) is CallDelta:
        deltas[-1].chunks += pieces
    else:
        deltas.append(CallDelta(pieces))
