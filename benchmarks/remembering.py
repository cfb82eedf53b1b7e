"""Remembering: does the right memory come back? Five users' chats with an assistant, and questions about them.

    python -m benchmarks.remembering [--words-only]

`benchmarks/histories` has 800 messages and 127 questions, each with the messages that answer it. They are invented, and
hard on purpose: questions use other words than the answers, among similar facts, and 35 facts are corrected later
(`outdated` names the earlier messages). The format is that of other memory benchmarks, so the files work with them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.recall_adapter import Memory, WordsOnly
from benchmarks.rig import report, show

HISTORIES = Path(__file__).parent / "histories"
DEPTH = 20
NOT_FOUND = 10 * DEPTH


@dataclass(slots=True)
class Figures:
    """Per question: the ranks of its messages (1 is first), and whether the newest one ranked before outdated ones."""

    places: list[list[int]] = field(default_factory=list)
    is_newest_first: list[bool] = field(default_factory=list)

    def recall(self, depth: int) -> float:
        """The share of each question's messages among the first `depth` hits, averaged."""
        return _mean([_mean([float(place <= depth) for place in places]) for places in self.places])

    @property
    def mean_reciprocal_rank(self) -> float:
        return _mean([1 / min(places) if min(places) <= 10 else 0.0 for places in self.places])

    @property
    def newest_first(self) -> float:
        return _mean([float(one) for one in self.is_newest_first])


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__ or "")
    made.add_argument("--words-only", action="store_true", help="without vectors")
    made.add_argument("--out", type=Path, help="folder for the figures as JSON")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    found = asyncio.run(measure(WordsOnly if options.words_only else Memory))
    rows: list[list[object]] = [["", "questions", "R@1", "R@5", "R@10", "MRR"]]
    for name, one in found.items():
        rows.append([name, len(one.places), one.recall(1), one.recall(5), one.recall(10), one.mean_reciprocal_rank])
    show(rows)
    everything = found["all"]
    print(f"\nof facts told anew the newest stands first in {everything.newest_first:.0%}")
    report("remembering", {name: round(one.recall(10), 3) for name, one in found.items()}, options.out)


async def measure(make: type[Memory]) -> dict[str, Figures]:
    """The figures per kind of question, and of all questions."""
    found: dict[str, Figures] = {"all": Figures()}
    for path in sorted(HISTORIES.glob("*.json")):
        history = json.loads(path.read_text(encoding="utf-8"))
        memory = make()
        for turn in history["turns"]:
            await memory.add(turn["id"], turn["text"], turn["speaker"], turn["ts"], turn["session"])
        await memory.finish()
        for question in history["questions"]:
            ids = await memory.search(question["q"], DEPTH)
            for figures in (found["all"], found.setdefault(question["category"], Figures())):
                _add(figures, ids, question)
        await memory.close()
    return found


def _add(figures: Figures, ids: list[str], question: dict[str, Any]) -> None:
    places = _places(ids, question["evidence"])
    figures.places.append(places)
    if older := question.get("outdated"):
        figures.is_newest_first.append(min(places) < min(_places(ids, older)))


def _places(ids: list[str], wanted: Iterable[str]) -> list[int]:
    return [ids.index(one) + 1 if one in ids else NOT_FOUND for one in wanted]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


if __name__ == "__main__":
    main()
