"""Steps in a history: an assistant message with calls and its results, which are selected, dropped and told as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter

from app.memory.working import Entry, entry

TOLD_ARGUMENTS = 200
"""Characters of a call's arguments in a summary's source text, at most."""
TOLD_RESULT = 400
"""Characters of a result, likewise."""

_CALL_IDS = attrgetter("call_ids")


def has_steps(messages: Sequence[Entry]) -> bool:
    return any(map(_CALL_IDS, messages))


def steps(messages: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The messages in groups: calls with the results behind them, and every other message alone."""
    group: list[Entry] = []
    for message in messages:
        if group and message.role != "tool":
            yield group
            group = []
        group.append(message)
    if group:
        yield group


def border(messages: Sequence[Entry], start: int) -> int:
    """The first place from `start` on that is not between calls and their results; before it, if there is none."""
    place = start
    while place < len(messages) and messages[place].role == "tool":
        place += 1
    if place < len(messages) or place == start:
        return place
    while start and messages[start].role == "tool":
        start -= 1
    return start


def in_words(messages: Sequence[Entry]) -> Iterator[Entry]:
    """The messages as a summary is made of them: each step as one message of the assistant."""
    for step in steps(messages):
        yield entry("assistant", told(step), step[-1].message_id, step[-1].seq) if step[0].call_ids else step[0]


def told(step: Sequence[Entry]) -> str:
    """A step as text: what was said, and a line for each call."""
    results = {message.call_ids[0]: message for message in step if message.role == "tool"}
    said = [text] if (text := step[0].text().strip()) and step[0].role != "tool" else []
    for call_id, name, arguments in step[0].calls():
        said.append(_line(f"{name}({shorten(arguments, TOLD_ARGUMENTS)})", results.pop(call_id, None)))
    said += [_line(result.result.name, result) for result in results.values() if result.result is not None]
    return "\n".join(said)


def _line(call: str, result: Entry | None) -> str:
    is_there = result is not None and result.result is not None and not result.result.is_cleared
    return (
        f"[tool {call}: {shorten(result.text(), TOLD_RESULT)}]" if result is not None and is_there else f"[tool {call}]"
    )


def shorten(text: str, most: int) -> str:
    """A text of at most `most` characters: its beginning and its end."""
    text = text.strip()
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]} … {text[-tail:]}"
