"""What changed in a text, as a unified diff for people; bounded in size and in the time it takes."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

CONTEXT = 3
MAX_CHARACTERS = 16_000
_MAX_COMPARED = 250_000
"""Lines of one side times lines of the other: comparing takes time in proportion to more than that, in one piece."""

_Block = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Diff:
    """A unified diff without file names. `is_cut`: it was longer."""

    text: str
    added: int
    removed: int
    is_cut: bool = False


def diff(before: str, after: str) -> Diff:
    """The diff of two texts. Where too many lines changed to be compared, they are all shown as replaced."""
    old, new = _lines(before), _lines(after)
    lines: list[str] = []
    added = removed = 0
    for group in _groups(_changed(old, new)):
        lines.append(_header(group, old, new))
        at = max(0, group[0][0] - CONTEXT)
        for first, last, new_first, new_last in group:
            lines += [f" {line}" for line in old[at:first]]
            lines += [f"-{line}" for line in old[first:last]]
            lines += [f"+{line}" for line in new[new_first:new_last]]
            at, removed, added = last, removed + last - first, added + new_last - new_first
        lines += [f" {line}" for line in old[at : at + CONTEXT]]
    text = "\n".join(lines)
    return Diff(text[:MAX_CHARACTERS], added, removed, is_cut=len(text) > MAX_CHARACTERS)


def _changed(old: list[str], new: list[str]) -> list[_Block]:
    """Which lines of `old` were replaced by which of `new`; half-open ranges, in order."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    inner_old, inner_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if not inner_old and not inner_new:
        return []
    if len(inner_old) * len(inner_new) > _MAX_COMPARED:
        return [(head, head + len(inner_old), head, head + len(inner_new))]
    codes = SequenceMatcher(None, inner_old, inner_new).get_opcodes()
    return [(i + head, j + head, k + head, m + head) for tag, i, j, k, m in codes if tag != "equal"]


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _common(left: list[str], right: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _groups(blocks: list[_Block]) -> list[list[_Block]]:
    """Blocks whose contexts touch belong together."""
    groups: list[list[_Block]] = []
    for block in blocks:
        if groups and block[0] - groups[-1][-1][1] <= 2 * CONTEXT:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _header(group: list[_Block], old: list[str], new: list[str]) -> str:
    before = min(CONTEXT, group[0][0])
    after = min(CONTEXT, len(old) - group[-1][1])
    ranges = (
        _range(group[0][0] - before, group[-1][1] + after),
        _range(group[0][2] - before, min(group[-1][3] + after, len(new))),
    )
    return "@@ -{} +{} @@".format(*ranges)


def _range(first: int, last: int) -> str:
    length = last - first
    start = first + 1 if length else first
    return str(start) if length == 1 else f"{start},{length}"
