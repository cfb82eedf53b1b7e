"""Tape: the complete events of one open turn so far, in a compact form.

The ring of newest runs (log.py) drops what is old; the tape does not. Three read it: readers that lag (merged
frames), the journal (what it has not written yet), and the end of the turn (the message and the table of numbers).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.domain.event import EventKind
from app.events.run import FRAME_BYTES, Run
from app.llm.base import unescape

STRIDE = 4096
"""Deltas between two remembered positions."""
BLOCK = 256
"""Deltas whose sizes are added up at once."""
ALL = 1 << 62
"""A number above all numbers."""


@dataclass(slots=True)
class Segment:
    """Consecutive deltas of one kind: numbers `first` … `first + len(lengths) - 1`.

    `parts` is escaped JSON text, `lengths` the bytes of each delta in it.
    `journaled` deltas are in the journal, or on their way while `is_being_written`.
    """

    first: int
    kind: EventKind
    parts: list[bytes] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("I"))
    journaled: int = 0
    is_being_written: bool = False
    stored: int = 0
    """Deltas whose rows are committed."""
    at_ms: int = 0
    """When the newest of them came."""
    _positions: array[int] = field(default_factory=lambda: array("Q", [0]))
    """Bytes before every `STRIDE`-th delta, as far as somebody asked for them."""

    @property
    def last(self) -> int:
        return self.first + len(self.lengths) - 1

    def escaped(self) -> bytes:
        """The whole text; the parts are joined once, so that the next call is cheap."""
        if len(self.parts) > 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0] if self.parts else b""

    def text(self) -> str:
        return unescape(self.escaped())

    def position(self, place: int) -> int:
        """Bytes before the delta at `place`. Costs no more in a long segment than in a short one."""
        lengths, known = self.lengths, self._positions
        stride = min(place, len(lengths)) // STRIDE
        while len(known) <= stride:
            begin = (len(known) - 1) * STRIDE
            known.append(known[-1] + sum(lengths[begin : begin + STRIDE]))
        return known[stride] + sum(lengths[stride * STRIDE : place])

    def chunks(self, start: int, stop: int | None = None) -> list[bytes]:
        """The deltas `start` … `stop - 1` (places in this segment, not numbers)."""
        lengths = self.lengths[start:stop]
        position = self.position(start)
        whole = self.escaped()
        out = []
        for length in lengths:
            out.append(whole[position : position + length])
            position += length
        return out

    def character_lengths(self, start: int = 0) -> array[int]:
        """Lengths in characters of the decoded text, from place `start` on."""
        if b"\\" not in (whole := self.escaped()) and whole.isascii():
            return self.lengths[start:]
        return array("I", [len(unescape(chunk)) for chunk in self.chunks(start)])


class Tape:
    """The segments and facts of one turn, in order of their numbers."""

    __slots__ = ("is_stored", "is_whole", "items", "sealed", "turn_id")

    def __init__(self, turn_id: str) -> None:
        self.turn_id = turn_id
        self.items: list[Segment | Run] = []
        self.sealed = 0
        """The number up to which the text is part of a stored message: of the text only what follows is open."""
        self.is_stored = False
        """Whether the turn is over and the journal has all of its events, so that nobody needs this any more."""
        self.is_whole = True

    def seal(self) -> int:
        """What was said so far is being stored as a message; returns what `unseal` takes if that fails."""
        before = self.sealed
        if self.items:
            self.sealed = max(before, self.items[-1].last)
        return before

    def seal_stored(self, upto: int) -> None:
        """The message with the text up to number `upto` is committed."""
        for item in self.items:
            if isinstance(item, Segment) and item.last <= upto:
                item.stored = len(item.lengths)

    def stored_upto(self, most: int) -> int:
        """The number before the first event that is not committed, or `most`."""
        for item in self.items:
            if isinstance(item, Run):
                if not item.is_stored and not item.is_void:
                    return min(most, item.first - 1)
            elif item.stored < len(item.lengths):
                return min(most, item.first + item.stored - 1)
        return most

    def unstored_facts(self) -> list[Run]:
        """Facts that readers were shown, and that have no row yet."""
        return [item for item in self.items if isinstance(item, Run) and not item.is_stored and not item.is_void]

    def unseal(self, before: int) -> None:
        self.sealed = before

    def add(self, kind: EventKind, first: int, chunks: list[bytes], joined: bytes, *, at_ms: int = 0) -> None:
        """Append deltas, also given as one text; called once per upstream read."""
        segment = self.items[-1] if self.items else None
        is_open = isinstance(segment, Segment) and segment.first > self.sealed
        if not is_open or not isinstance(segment, Segment) or segment.kind is not kind or segment.last + 1 != first:
            segment = Segment(first, kind)
            self.items.append(segment)
        segment.parts.append(joined)
        segment.lengths.extend(map(len, chunks))
        segment.at_ms = at_ms

    def add_fact(self, run: Run) -> None:
        self.items.append(run)

    def segments(self) -> Iterator[Segment]:
        """The text that is not part of a stored message."""
        for item in self.items:
            if isinstance(item, Segment) and item.first > self.sealed:
                yield item

    def text(self, upto: int | None = None) -> str:
        """The plain text of the message that is being written, or of its events up to number `upto`."""
        texts = [segment for segment in self.segments() if segment.kind is EventKind.TEXT]
        if upto is None or not texts or texts[-1].last <= upto:
            return "".join([segment.text() for segment in texts])
        known = [(segment, upto + 1 - segment.first) for segment in texts if segment.first <= upto]
        return "".join([unescape(b"".join(segment.chunks(0, count))) for segment, count in known])

    def size_after(self, after: int) -> int:
        """About how many bytes a reader is sent of the text after number `after`, frame by frame."""
        return sum([_size_from(item, after + 1 - item.first) for item in self.items if isinstance(item, Segment)])

    def covers(self, after: int) -> bool:
        """Whether the tape has every event of the session with a number above `after`."""
        return self.is_whole and bool(self.items) and first_of(self.items[0]) - 1 <= after

    def facts(self) -> Tape:
        """A tape without the text, which covers nothing."""
        found = Tape(self.turn_id)
        found.items = [item for item in self.items if isinstance(item, Run)]
        found.is_stored, found.is_whole = self.is_stored, False
        return found

    def read(self, after: int, limit_bytes: int, *, merge: bool, upto: int = ALL) -> list[Run]:
        """Runs with `after` < number ≤ `upto`: at least one if there is any, about `limit_bytes` of text at most.

        With `merge` the deltas of a segment become one frame with the number of its last delta.
        """
        out: list[Run] = []
        room = limit_bytes
        for item in self.items:
            if first_of(item) > upto or after >= upto:
                break
            if isinstance(item, Run):
                if item.last > after:
                    if not item.ready:
                        break
                    if item.is_void:
                        continue
                    out.append(item)
                    room -= item.size
            elif item.last > after:
                run, size = _piece(item, max(after + 1 - item.first, 0), room, merge=merge, upto=upto)
                run.turn_id = self.turn_id
                out.append(run)
                room -= size
                if run.last < item.last:
                    break
            if room <= 0:
                break
        return out


def first_of(item: Segment | Run) -> int:
    return item.first


def _size_from(segment: Segment, start: int) -> int:
    """About how many bytes a reader is sent of the deltas from place `start` on, frame by frame."""
    start, count = max(start, 0), len(segment.lengths)
    if start >= count:
        return 0
    return segment.position(count) - segment.position(start) + FRAME_BYTES * (count - start)


def _piece(segment: Segment, start: int, room: int, *, merge: bool, upto: int) -> tuple[Run, int]:
    lengths, position = segment.lengths, segment.position(start)
    end = min(len(lengths), upto + 1 - segment.first)
    stop, size = start, 0
    while stop < end and size + (more := sum(lengths[stop : min(stop + BLOCK, end)])) <= room:
        size += more
        stop = min(stop + BLOCK, end)
    while stop < end and (size == 0 or size + lengths[stop] <= room):
        size += lengths[stop]
        stop += 1
    chunks = [segment.escaped()[position : position + size]] if merge else segment.chunks(start, stop)
    first, last = segment.first + start, segment.first + stop - 1
    return Run(first, last, segment.kind, chunks=chunks, at_ms=segment.at_ms), size
