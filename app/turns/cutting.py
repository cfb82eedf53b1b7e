"""Cutting: messages with their middle left out, for models that do not take in the whole."""

from __future__ import annotations

from collections.abc import Callable

from app.memory.working import Entry, calls_entry, entry, tool_entry

LARGE_ARGUMENTS = 200
"""Characters of arguments from which on `cut_calls` removes them: what is left must be a JSON object."""
_CHARACTERS = 4
"""Of a token, about: where a text that is cut is first tried."""

Count = Callable[[str], int]


def cut(text: str, most_tokens: int, count_tokens: Count, *, mark: str) -> str:
    """The head and tail of a text, at most `most_tokens` with `mark` between them; the mark alone if it is longer.

    `{}` in the mark stands for the number of characters left out.
    """
    kept = min(len(text) - 1, most_tokens * _CHARACTERS)
    while kept > 0:
        tail = kept // 3
        short = text[: kept - tail] + mark.format(f"{len(text) - kept:,}") + text[len(text) - tail :]
        if (tokens := count_tokens(short)) <= most_tokens:
            return short
        kept = min(kept * most_tokens // tokens, kept * 9 // 10)
    return mark.format(f"{len(text):,}").strip()


def cut_user(message: Entry, most_tokens: int, count_tokens: Count) -> Entry:
    mark = "\n[… {} characters of this message were left out: it is too long for this model …]\n"
    return entry("user", cut(message.text(), most_tokens, count_tokens, mark=mark), message.message_id, message.seq)


def cut_result(message: Entry, most_tokens: int, count_tokens: Count) -> Entry:
    """The result of a call with a text of at most `most_tokens`; itself if it is not longer."""
    result = message.result
    assert result is not None
    if result.is_cleared or message.at_most() <= most_tokens or message.count(count_tokens) <= most_tokens:
        return message
    back = f'; read_result("{result.handle}") gives them' if result.handle else ""
    text = cut(message.text(), most_tokens, count_tokens, mark=f"\n[… {{}} characters left out{back} …]\n")
    made = tool_entry(message.call_ids[0], result.name, text, message.message_id, message.seq, handle=result.handle)
    return made if made.count(count_tokens) < message.count(count_tokens) else message


def cut_said(message: Entry, most_tokens: int, count_tokens: Count) -> Entry:
    """A message of the assistant with a text of at most `most_tokens`, and its calls without long arguments."""
    if message.at_most() <= most_tokens or message.count(count_tokens) <= most_tokens:
        return message
    text = message.text()
    if text and count_tokens(text) > most_tokens:
        text = cut(text, most_tokens, count_tokens, mark="\n[… {} characters left out …]\n")
    if not message.call_ids:
        return entry(message.role, text, message.message_id, message.seq)
    calls = [(call_id, name, _without_values(arguments)) for call_id, name, arguments in message.calls()]
    return calls_entry(text, calls, message.message_id, message.seq)


def _without_values(arguments: str) -> str:
    if len(arguments) <= LARGE_ARGUMENTS:
        return arguments
    return f'{{"removed_to_save_room": "{len(arguments):,} characters"}}'
