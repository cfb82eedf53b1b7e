"""The quick way for pieces of arguments, of which a call may have thousands.

Like plain text: the frame around a piece is learned and compared (200 ns a piece); where it changes, one expression
covers the whole event (1 us). It takes what surely continues a call that has begun, and nothing else.
"""

from __future__ import annotations

import re

from app.llm.calls import CallAssembler, OpenCall
from app.llm.escaped import INNER, is_passable

_MAX_LESSONS = 4

# One choice, number 0, not finished, in it one piece of one call, without a name, and otherwise only nulls and empty
# texts; after the array no further object. Groups: index, id, piece.
_PIECE = re.compile(
    rb'"choices": *\[ *\{ *(?:"(?:index|finish_reason)": *(?:0|null) *, *)*+'
    rb'"delta": *\{ *(?:"(?:role": *"assistant"|\w++": *(?:null|"")) *, *)*+"tool_calls": *\[ *\{ *'
    rb'(?:"(?:index": *(\d{1,9})|id": *(?:null|"([^"\\\x00-\x1f]*+)")|type": *(?:null|"function"|"")) *, *)*+'
    rb'"function": *\{ *(?:"name": *(?:null|"") *, *)?+"arguments": *"(?!")(' + INNER + rb')" *'
    rb'(?:, *"name": *(?:null|"") *)?+\} *(?:, *"type": *(?:null|"function") *)?+\} *\] *'
    rb'(?:, *"\w++": *(?:null|""|"assistant") *)*+\} *(?:, *"(?:index": *0|\w++": *null) *)*+\} *\][^\n{]*+\n\n'
)


class ArgumentsPath:
    """Fed with blocks of whole events once a call has begun."""

    __slots__ = ("_call", "_calls", "_lessons", "_prefix", "_suffix")

    def __init__(self, calls: CallAssembler) -> None:
        self._calls = calls
        self.forget()

    def forget(self) -> None:
        """Calls have changed: what was learned of their frames may be wrong."""
        self._prefix = self._suffix = b""
        self._call: OpenCall | None = None
        self._lessons = 0

    def take(self, block: bytes) -> list[bytes] | None:
        """The pieces, escaped, when the block has nothing else; they are added to their calls.

        Raises:
            TooManyCalls: see `CallAssembler.take`.
        """
        found = self._same_frame(block)
        if found is None:
            return self._any_frame(block)
        assert self._call is not None
        self._calls.add(self._call, found)
        return found

    def _same_frame(self, block: bytes) -> list[bytes] | None:
        prefix, suffix = self._prefix, self._suffix
        if not prefix or not block.startswith(prefix) or not block.endswith(suffix):
            return None
        start, end = len(prefix), len(suffix)
        if block.find(b"\n") == len(block) - 2:
            found = [block[start:-end]]
        else:
            found = [line[start : 2 - end] for line in block.split(b"\n")[:-1:2]]
            if prefix + (suffix + prefix).join(found) + suffix != block:
                return None
        return found if is_passable(found) else None

    def _any_frame(self, block: bytes) -> list[bytes] | None:
        first = _PIECE.search(block)
        if first is None:
            return None
        told = [first.groups(b"")] if first.end() == len(block) else _PIECE.findall(block)
        # Each match takes one empty line with it: as many as there are means that every event matched.
        if block.count(b"\n") != 2 * len(told):
            return None
        pieces = [piece for _, _, piece in told]
        if not is_passable(pieces):
            return None
        known: dict[tuple[bytes, bytes], OpenCall] = {}
        for index, call_id, _ in told:
            if (index, call_id) not in known:
                call = self._find(index, call_id)
                if call is None:
                    return None
                known[index, call_id] = call
        if len(known) == 1:
            call = known.popitem()[1]
            self._calls.add(call, pieces)
            self._learn(block, first, call)
        else:
            for index, call_id, piece in told:
                self._calls.add(known[index, call_id], [piece])
        return pieces

    def _find(self, index: bytes, call_id: bytes) -> OpenCall | None:
        """The call that is already known by this index and this id, as far as they are given."""
        number, name = int(index) if index else None, call_id.decode(errors="replace")
        call = self._calls.find(number, name)
        if call is None or (index and call.index != number) or (name and call.call_id != name):
            return None
        return call

    def _learn(self, block: bytes, first: re.Match[bytes], call: OpenCall) -> None:
        # Some providers change the frame with every event (a clock, a padding): learning more of them gains nothing.
        if self._lessons == _MAX_LESSONS:
            return
        self._lessons += 1
        before = block.rfind(b"\n\n", 0, first.start())
        prefix = block[0 if before < 0 else before + 2 : first.start(3)]
        if prefix.startswith(b"data:"):
            self._prefix, self._suffix, self._call = prefix, block[first.end(3) : first.end()], call
