"""From the bytes of an event stream in the OpenAI dialect to deltas, as cheaply as can be done safely.

Most events of one answer differ in nothing but their text. So the frame around the text is learned from the
first plain event and later ones are compared with it (200 ns a token); an event of another make is matched by
one expression that covers the whole `choices` array (700 ns); everything else goes through the JSON parser,
event by event (2 us), and that way alone would be correct. Text keeps the provider's own escapes.
"""

from __future__ import annotations

import re
from typing import Literal

from app.llm.base import Delta, StreamEnd, TextDelta, ThinkingDelta, escape
from app.llm.dialect import code_of, first_choice, loads, usage_of, words_of

Kind = Literal["text", "thinking"]

MAX_EVENT_BYTES = 2 * 1024 * 1024
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


class StreamParser:
    """Fed with reads of any size, cut anywhere.

    `end` fills as the provider tells; `done` is true after `[DONE]`; `error` holds the provider's words when
    it reported a failure inside the stream, `error_code` its number. After either, input is ignored.
    """

    __slots__ = (
        "_begun", "_held", "_lessons", "_prefix", "_rest", "_suffix",
        "done", "end", "error", "error_code",
    )  # fmt: skip

    def __init__(self) -> None:
        self.end = StreamEnd()
        self.done = False
        self.error: str | None = None
        self.error_code: int | None = None
        self._rest = b""
        self._begun = False
        self._prefix = b""
        self._suffix = b""
        self._lessons = 0
        self._held: dict[Kind, str] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the provider said that this is all; a body that ends before that was cut."""
        return self.done or self.end.finish_reason is not None

    def feed(self, read: bytes) -> list[Delta]:
        """The deltas of all events that are complete with `read`, in order."""
        if self.done or self.error is not None:
            return []
        block = self._rest + read if self._rest else read
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
        rest, self._rest = self._rest, b""
        if rest.strip() and not self.done and self.error is None:
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
        if len(self._rest) > MAX_EVENT_BYTES:
            self.error = f"one event of the stream is larger than {MAX_EVENT_BYTES} bytes"
        return block[:cut]

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
        # Some providers change the frame with every event (a clock, a padding): no use in learning on and on.
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
            cut = block.find(b"\n\n") + 2
            self._event(block[:cut], deltas)
            block = block[cut:]
        tail: list[bytes] = []
        if block and not self._held:
            block, tail = self._without_tail(block)
            found = self._plain(block)
            if found is not None:
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
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines or self.done or self.error is not None:
            return
        body = b"\n".join(lines) if len(lines) > 1 else lines[0]
        if body.strip() == b"[DONE]":
            self.done = True
            self._release_held(deltas)
        elif body.strip():
            self._take(body, deltas, is_last=is_last)

    def _take(self, body: bytes, deltas: list[Delta], *, is_last: bool) -> None:
        event = loads(body)
        if not isinstance(event, dict):
            if not is_last:  # the last event of a cut body is half an event
                self.error = "not an event of the OpenAI dialect: " + body[:500].decode(errors="replace")
            return
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.end.usage = usage_of(usage) or self.end.usage
        choice = first_choice(event)
        if choice is not None:
            self._delta(choice.get("delta") or choice.get("message"), deltas)
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason:
                self.end.finish_reason = reason
        if event.get("error") or event.get("object") == "error":
            self.error = words_of(event)
            self.error_code = code_of(event)

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


class WholeParser(StreamParser):
    """The same for a provider that ignored `stream` and answers with one JSON object."""

    __slots__ = ()

    def feed(self, read: bytes) -> list[Delta]:
        self._rest += read
        if len(self._rest) > MAX_EVENT_BYTES:
            self.error = f"the answer is larger than {MAX_EVENT_BYTES} bytes"
        return []

    def finish(self) -> list[Delta]:
        deltas: list[Delta] = []
        if self.error is None:
            self._take(self._rest, deltas, is_last=False)
        self._release_held(deltas)
        self.done = self.error is None
        return deltas


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
