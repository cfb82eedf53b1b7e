"""Rescue: what a dead owner had in the tail, and not in the journal yet, is stored before its session goes on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from app.cluster.tail_entry import Entry
from app.domain.event import EventKind
from app.events.run import Run
from app.llm.base import unescape
from app.storage import events
from app.storage.engine.unit_of_work import UnitOfWork

_OF_THE_TURN = (EventKind.TURN_QUEUED, EventKind.TURN_STARTED, EventKind.TURN_FINISHED, EventKind.ERROR)
"""Who goes on with the session says these anew, or they are stored with the turn."""


def unbroken(entries: Sequence[Entry]) -> list[Entry]:
    """The newest entries that follow each other without a gap, if what was before them is stored; else none."""
    chain: list[Entry] = []
    for entry in entries:
        if chain and entry.after > chain[-1].upto:
            chain = []
        chain.append(entry)
    stored = max([entry.stored for entry in entries], default=0)
    return chain if chain and chain[0].after <= stored else []


def lacking(run: Run, stored: Iterable[tuple[int, int]]) -> Iterator[Run]:
    """The parts of a run of text that none of the `stored` ranges (first and last number, in order) has."""
    first = run.first
    for begin, end in stored:
        if end < first:
            continue
        if begin > run.last:
            break
        if begin > first:
            yield _part(run, first, begin - 1)
        first = end + 1
    if first <= run.last:
        yield _part(run, first, run.last)


def _part(run: Run, first: int, last: int) -> Run:
    chunks = run.chunks[first - run.first : last + 1 - run.first]
    return Run(first, last, run.kind, chunks=chunks, turn_id=run.turn_id, at_ms=run.at_ms)


def add_to(unit: UnitOfWork, entries: Iterable[Entry], stored: Sequence[tuple[int, int]], turn_id: str) -> int:
    """Insert what the entries have of the turn, and the journal lacks; returns how many deltas."""
    count = 0
    for run in [run for entry in entries for run in entry.runs if run.turn_id == turn_id]:
        if run.count:
            for part in lacking(run, stored):
                _add_text(unit, part, turn_id)
                count += part.count
        elif run.kind not in _OF_THE_TURN:
            events.add_fact(
                unit,
                seq=run.first,
                kind=run.kind.value,
                turn_id=turn_id,
                fact=run.payload,
                created_ms=run.at_ms,
                once=True,
            )
    return count


def _add_text(unit: UnitOfWork, run: Run, turn_id: str) -> None:
    events.add_run(
        unit,
        first=run.first,
        last=run.last,
        turn_id=turn_id,
        kind=run.kind.value,
        lengths=array("I", [len(unescape(chunk)) for chunk in run.chunks]),
        content=unescape(run.text),
        created_ms=run.at_ms,
        while_open=True,
    )
