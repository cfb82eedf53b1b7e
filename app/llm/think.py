"""`<think>…</think>` at the start of an answer is thinking: models without a reasoning parser leave it in the text."""

from __future__ import annotations

from typing import Literal

import orjson

from app.llm.base import Delta, TextDelta, ThinkingDelta, escape

_OPEN = "<think>"
_CLOSE = "</think>"
_MAY_BEGIN = (b"<", b"\\", b"")  # a backslash begins an escape, of white space or of the tag
_MAX_SPACE = 64
"""White space before the tag; an answer that begins with more of it has none."""


class ThinkTag:
    """Between parser and reader until it is clear that the rest is text: then `is_through`, and it can be left out.

    What may be half of a tag is held back until the next delta or the end.
    """

    __slots__ = ("_has_thought", "_held", "_held_chunks", "_state", "is_through")

    def __init__(self) -> None:
        self.is_through = False
        self._state: Literal["start", "thinking", "after"] = "start"
        self._has_thought = False
        self._held = ""
        self._held_chunks: list[bytes] = []  # the same as the provider wrote it

    def sort(self, deltas: list[Delta]) -> list[Delta]:
        """The deltas with the thinking told apart."""
        if self._state == "start" and not self._held and _cannot_begin(deltas[0]):
            self.is_through = True  # nearly always
            return deltas
        sorted_: list[Delta] = []
        for number, delta in enumerate(deltas):
            if self.is_through:
                sorted_ += deltas[number:]
                break
            if not isinstance(delta, TextDelta):  # the provider tells thinking apart itself, or asks for tools
                sorted_ += self.finish()
                sorted_.append(delta)
                self.is_through = True
                continue
            for place, chunk in enumerate(delta.chunks):
                if self._take(chunk, sorted_):
                    if rest := delta.chunks[place + 1 :]:
                        sorted_.append(TextDelta(rest))
                    break
        return sorted_

    def finish(self) -> list[Delta]:
        """What was held back when the answer ended."""
        held, chunks = self._held, self._held_chunks
        self._held, self._held_chunks = "", []
        if not held or self._state == "after":
            return []
        return [ThinkingDelta([escape(held)])] if self._state == "thinking" else [TextDelta(chunks)]

    def _take(self, chunk: bytes, sorted_: list[Delta]) -> bool:
        if self._state == "start":
            self._held += _decoded(chunk)
            self._held_chunks.append(chunk)
            begin = self._held.lstrip()
            if begin.startswith(_OPEN):
                self._state = "thinking"
                self._held, self._held_chunks = "", []
                self._think(begin.removeprefix(_OPEN), sorted_)
            elif not _OPEN.startswith(begin) or len(self._held) > _MAX_SPACE:
                self.is_through = True
                sorted_ += self.finish()
        elif self._state == "thinking":
            self._think(self._held + _decoded(chunk), sorted_)
        else:
            self._after(_decoded(chunk), sorted_)
        return self.is_through

    def _think(self, text: str, sorted_: list[Delta]) -> None:
        thought, tag, rest = text.partition(_CLOSE)
        self._held = ""
        if not tag:
            half = next((n for n in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:n])), 0)
            thought, self._held = text[: len(text) - half], text[len(text) - half :]
        thought = thought if self._has_thought else thought.lstrip()
        if thought:
            self._has_thought = True
            sorted_.append(ThinkingDelta([escape(thought)]))
        if tag:
            self._state = "after"
            self._after(rest, sorted_)

    def _after(self, text: str, sorted_: list[Delta]) -> None:
        """The answer begins with its first word, not with the empty lines behind the tag."""
        if text := text.lstrip():
            self.is_through = True
            sorted_.append(TextDelta([escape(text)]))


def _cannot_begin(delta: Delta) -> bool:
    return type(delta) is not TextDelta or delta.chunks[0].lstrip(b" ")[:1] not in _MAY_BEGIN


def _decoded(chunk: bytes) -> str:
    return str(orjson.loads(b'"' + chunk + b'"'))
