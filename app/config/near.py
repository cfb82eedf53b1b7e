"""Which known name somebody probably meant: one or two slips of the finger away, and never its opposite."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OPPOSITES = (
    ("allow", "deny"),
    ("allowed", "denied"),
    ("allowed", "forbidden"),
    ("include", "exclude"),
    ("enable", "disable"),
    ("enabled", "disabled"),
    ("show", "hide"),
    ("min", "max"),
    ("first", "last"),
    ("read", "write"),
)


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The closest of the known names, or None if all are further away than a slip."""
    found = sorted((distance, one) for one in known if (distance := _distance(name, one)) is not None)
    return found[0][1] if found else None


def _distance(name: str, known: str) -> int | None:
    """Slips between two names; None if they are too many, or if the names are opposites."""
    ours, theirs = _words(name), _words(known)
    for one, other in _OPPOSITES:
        if (one in ours and other in theirs) or (other in ours and one in theirs):
            return None
    first, second = "".join(ours), "".join(theirs)
    slips = _slips(first, second)
    return slips if slips <= (1 if min(len(first), len(second)) < 5 else 2) else None


def _words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:64]).lower().replace("-", "_").split("_")


def _slips(first: str, second: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours (optimal string alignment)."""
    rows = [list(range(len(second) + 1))]
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and b == first[i - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
