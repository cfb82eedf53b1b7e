"""From the bytes of an event stream in the OpenAI dialect to deltas, as cheaply as can be done safely.

Most events of one answer differ in nothing but their text. So the frame around the text is learned from the
first plain event and later ones are compared with it (200 ns a token); an event of another make is matched by
one expression that covers the whole `choices` array (700 ns); everything else goes through the JSON parser,
event by event (2 us), and that way alone would be correct. Text keeps the provider's own escapes.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from app.llm.base import Delta, StreamEnd, TextDelta, ThinkingDelta, escape
from app.llm.dialect import Reported, failure_named, failure_of, first_choice, loads, usage_of

Kind = Literal["text", "thinking"]

MAX_EVENT_BYTES = 2 * 1024 * 1024
"""A larger event (a picture beside the text) is skipped: the answer goes on without it."""

BOM = b"\xef\xbb\xbf"
_MAX_STRAY = 2000
_MAX_LESSONS = 4
_MAX_TAIL = 3  # finish, usage, [DONE]

# The inside of a JSON string that may be passed on as it is: no control character, no U+0000, no unknown escape and
# no half of a surrogate pair. Possessive, so that a mismatch costs one pass.
_INNER = (
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?:(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))" + rb'[^"\\\x00-\x1f]*+)*+'
)
_is_inner = re.compile(_INNER).fullmatch
_HARMLESS = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))

# One choice, number 0, not finished, with a text and otherwise only nulls; after the array no further object,
# so no usage and no error. Nothing in it reaches over the end of the event: at most one match an event.
_PLAIN = re.compile(
    rb'"choices": *\[ *\{ *(?:"(?:index|finish_reason)": *(?:0|null) *, *)*+'
    rb'"delta": *\{ *(?:"role": *"assistant" *, *)?"content": *"(?!")(' + _INNER + rb')" *'
    rb'(?:, *"\w++": *(?:null|"assistant") *)*+\} *(?:, *"(?:index": *0|\w++": *null) *)*+\} *\][^\n{]*+\n\n'
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile(rb"[\r\n]").search
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r").search
_is_error_name = re.compile(rb"event: *error *").fullmatch
_is_field = re.compile(rb"(?:data|event|id|retry)? *:").match


class StreamParser:
    """Fed with reads of any size, cut anywhere.

    `end` fills as the provider tells; `done` is true after `[DONE]`; `failure` is what the provider reported inside
    the stream. After either, input is ignored. `has_choice`: something of an answer came, if only its end.
    """

    __slots__ = (
        "_begun", "_has_spoken", "_held", "_is_skipping", "_lessons", "_middle", "_middle_size", "_prefix", "_rest",
        "_stray", "_suffix", "done", "end", "failure", "has_choice",
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

    @property
    def is_complete(self) -> bool:
        """Whether the provider said that this is all; a body that ends before that was cut."""
        return self.done or self.end.finish_reason is not None

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
        return self._mixed(self._whole_events(block) if ends_whole else block)

    def finish(self) -> list[Delta]:
        """The body has ended: what was still held back, a last event without its empty line included."""
        deltas: list[Delta] = []
        rest, self._rest = b"".join((self._rest, *self._middle)), b""
        if rest.strip() and not self.done and self.failure is None and not self._is_skipping:
            self._event(rest, deltas, is_last=True)
        self._release_held(deltas)
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
            return found if _is_passable(found) else None
        found = [line[start : 2 - end] for line in block.split(b"\n")[:-1:2]]
        # Put together again it must be the block: then all had this frame and there was no other line.
        if prefix + (suffix + prefix).join(found) + suffix != block:
            return None
        return found if _is_passable(found) else None

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
        return found if _is_passable(found) else None

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
        for event in block.split(b"\n\n"):
            self._event(event, deltas)
        for event in tail:
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
        if self.done or self.failure is not None:
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
            self._delta(self._content_of(choice), deltas)
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason:
                self.end.finish_reason = reason
        elif not self._stray:
            self._stray = body[:_MAX_STRAY]
        if not was_over:
            self.failure = failure_of(event, choice)

    def _content_of(self, choice: dict[str, Any]) -> object:
        """The delta. A whole message counts only where nothing was said before: some send it once more at the end."""
        message = choice.get("message")
        return choice.get("delta") or (None if self._has_spoken else message)

    def _delta(self, delta: object, deltas: list[Delta]) -> None:
        if not isinstance(delta, dict):
            return
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

    def _release_held(self, deltas: list[Delta]) -> None:
        for kind in self._held:
            _append(deltas, kind, escape("\ufffd"))
        self._held = {}


def _is_passable(found: list[bytes]) -> bool:
    # A space between the texts keeps half an escape from being completed by its neighbour.
    text = b" ".join(found) if len(found) > 1 else found[0]
    if b"" in found:
        return False
    if not text.translate(None, _HARMLESS):
        return True
    if _is_inner(text) is None:
        return False
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


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
