"""The journal's pages in pieces: every event once and in order, whatever the pace of the reader."""

from __future__ import annotations

from typing import Any

from app.conversation.replay import PIECE_BYTES, Replay
from app.domain.event import EventKind
from app.events.run import Run

TEXTS = [b"%06d" % number + b"x" * 1000 for number in range(500)]


class Pages:
    """A reading whose journal has one long run from number 11 on, and a fact behind it."""

    def __init__(self) -> None:
        self.cursor = 10
        self.reads = 0

    async def replay(self) -> list[Run]:
        self.reads += 1
        chunks = TEXTS[max(self.cursor - 10, 0) :]
        found = [Run(self.cursor + 1, 510, EventKind.TEXT, chunks=chunks, turn_id="turn_1")] if chunks else []
        if self.cursor < 511:
            found.append(Run(511, 511, EventKind.TURN_FINISHED, payload=b"{}"))
        self.cursor = 511
        return found


async def read(pages: Any, *, forgets: bool) -> list[list[Run]]:
    replay, found = Replay(pages), []
    while piece := await replay.next():
        assert pages.cursor == piece[-1].last
        found.append(piece)
        if forgets:  # as when the reader took too long
            replay._pieces.clear()
    return found


async def test_a_reader_that_keeps_up_has_one_page_read_for_all_its_pieces() -> None:
    pages = Pages()
    pieces = await read(pages, forgets=False)
    assert pages.reads == 2, "the last one finds nothing"
    assert_whole(pieces)


async def test_a_slow_reader_has_the_rest_read_again() -> None:
    pages = Pages()
    pieces = await read(pages, forgets=True)
    assert pages.reads == len(pieces) + 1
    assert_whole(pieces)


def assert_whole(pieces: list[list[Run]]) -> None:
    runs = [run for piece in pieces for run in piece]
    assert all(sum(run.size for run in piece) <= PIECE_BYTES for piece in pieces)
    assert len(pieces) > 5
    assert [number for run in runs[:-1] for number, _ in run.numbered()] == list(range(11, 511))
    assert [chunk for run in runs[:-1] for _, chunk in run.numbered()] == TEXTS
    assert (runs[-1].kind, runs[0].turn_id) == (EventKind.TURN_FINISHED, "turn_1")


async def test_an_event_that_is_longer_than_a_piece_stays_whole() -> None:
    class One:
        cursor = 0

        async def replay(self) -> list[Run]:
            found = [] if self.cursor else [Run(1, 2, EventKind.TEXT, chunks=[b"y" * 200_000, b"z"])]
            self.cursor = 2
            return found

    pieces = await read(One(), forgets=False)
    assert [run.text for piece in pieces for run in piece] == [b"y" * 200_000, b"z"]
