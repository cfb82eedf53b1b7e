"""Clearing: old results of tools give way to one line each, before anything else of a conversation does."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from app.memory.working import Entry, Result, tool_entry

LEAST_BYTES = 400
"""A shorter result is hardly longer than its line."""
_LONGEST_NAME = 64


def is_clearable(message: Entry) -> bool:
    result = message.result
    return result is not None and not (result.is_kept or result.is_cleared) and len(message.encoded) >= LEAST_BYTES


def line_of(message: Entry) -> Entry:
    """The line that stands for a result. Made once: a history is cleared again for each request."""
    result = message.result
    assert result is not None
    if result.line is None:
        name = result.name[:_LONGEST_NAME] or "a call"
        back = f'; read_result("{result.handle}") gives it back' if result.handle else ""
        text = f"[result of {name} was removed to save room: {len(message.text())} characters{back}]"
        line = tool_entry(message.call_ids[0], result.name, text, message.message_id, message.seq)
        line.result = Result(result.name, result.handle, is_cleared=True)
        result.line = line
    return result.line


def clear(
    messages: Sequence[Entry], *, room: int, count_tokens: Callable[[str], int], spared: Container[int] = ()
) -> list[Entry]:
    """The messages with the oldest results cleared until all take at most `room` tokens, as far as that helps.

    `spared`: the `id()` of results that stay. Counts only what stays, and one result more.
    """
    shown = [line_of(one) if is_clearable(one) and id(one) not in spared else one for one in messages]
    spent = 0
    for message in reversed(shown):
        spent += message.count(count_tokens)
        if spent > room:
            return shown
    for place in reversed(range(len(messages))):
        if shown[place] is not messages[place]:
            spent += messages[place].count(count_tokens) - shown[place].count(count_tokens)
            if spent > room:
                break
            shown[place] = messages[place]
    return shown
