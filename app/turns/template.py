"""Template: a request in the form that the strictest chat template takes.

At most one system message, which comes first; then the user and the assistant in turn, the user first and last; no
blank message (who makes the entries leaves those out). Templates of many models refuse everything else.

With tools: between a message of the user and the text that answers it stand any number of steps. A step is an assistant
message with calls and exactly the results of these calls, in their order. A request may end with a step; a message of
the user never follows one directly (Mistral refuses it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from app.memory.working import Entry, entry, tool_entry, with_text

LEFT_OUT = "[…]"
"""Stands for a message of the user where the assistant would speak first or last, and for an answer after a step."""
NOT_KEPT = "[The outcome of this call was not kept.]"
"""Stands for a result that is missing."""
_CALL_IDS = attrgetter("call_ids")


def begins_with_assistant(messages: Sequence[Entry]) -> bool:
    """Whether the template needs a message in front."""
    return bool(messages) and messages[0].role == "assistant"


def from_user(messages: Sequence[Entry]) -> list[Entry]:
    """The messages from the first one of the user on: for histories that were cut, where there is no room in front."""
    start = next((place for place, message in enumerate(messages) if message.is_users), 0)
    return list(messages[start:])


def fit_template(messages: Sequence[Entry]) -> list[bytes]:
    """The encoded messages of a request. Neighbours of one role are joined, system messages folded into the first.

    A result without its call is left out, as is a second result of one call; a missing result is marked.
    """
    return [message.encoded for message in in_template(messages)]


def in_template(messages: Sequence[Entry]) -> Sequence[Entry]:
    """The same, not encoded; `messages` itself if the template takes it as it is."""
    has_calls = any(map(_CALL_IDS, messages))
    is_taken = _has_whole_steps(messages) if has_calls else _alternate(messages)
    return messages if is_taken else list(_repaired(messages))


def _alternate(messages: Sequence[Entry]) -> bool:
    """Whether the user speaks first and last, and nobody twice in a row."""
    roles = [message.role for message in messages]
    said = roles[1:] if roles and roles[0] == "system" else roles
    users, others = said[::2], said[1::2]
    return len(users) == len(others) + 1 == users.count("user") and others.count("assistant") == len(others)


def _has_whole_steps(messages: Sequence[Entry]) -> bool:
    """The same for messages with calls."""
    before = "assistant"
    due: list[str] = []
    for message in messages[1:] if messages[0].role == "system" else messages:
        if due:
            if message.role != "tool" or message.call_ids[0] != due.pop():
                return False
        elif message.role == ("user" if before == "assistant" else "assistant"):
            due = list(reversed(message.call_ids))
        else:
            return False
        before = message.role
    return not due and before != "assistant"


def _repaired(messages: Sequence[Entry]) -> Iterator[Entry]:
    system = [message for message in messages if message.role == "system"]
    if system:
        yield _joined(system)
    before = ""
    for message in _merged(paired([message for message in messages if message.role != "system"])):
        if message.is_users and before == "tool":
            yield entry("assistant", LEFT_OUT)
        elif not message.is_users and not before:
            yield entry("user", LEFT_OUT)
        yield message
        before = message.role
    if before in ("", "assistant"):
        yield entry("user", LEFT_OUT)


def paired(messages: Iterable[Entry]) -> list[Entry]:
    """The messages with the results of each step directly behind its calls, in their order, one for each.

    A result belongs to the newest message before it with a call of this id: ids may come again in later steps.
    """
    steps: list[list[Entry | None]] = []
    open_calls: dict[str, list[tuple[list[Entry | None], int]]] = {}
    for message in messages:
        if message.role != "tool":
            step: list[Entry | None] = [message]
            steps.append(step)
            if message.call_ids:
                step += [None] * len(message.call_ids)
                open_calls |= {call_id: [] for call_id in message.call_ids}
                for place, call_id in enumerate(message.call_ids, 1):
                    open_calls[call_id].append((step, place))
        elif places := open_calls.get(message.call_ids[0]):
            step, place = places.pop(0)
            step[place] = message
    return [found for step in steps for found in _complete(step)]


def _complete(step: Sequence[Entry | None]) -> Iterator[Entry]:
    calls = step[0]
    assert calls is not None
    yield calls
    for call_id, result in zip(calls.call_ids, step[1:], strict=True):
        yield result if result is not None else tool_entry(call_id, "", NOT_KEPT, seq=calls.seq)


def _merged(messages: Sequence[Entry]) -> Iterator[Entry]:
    """Neighbours of one role as one message; a text directly before calls becomes theirs."""
    run: list[Entry] = []
    for message in messages:
        if run and (run[-1].call_ids or run[-1].role != message.role):
            yield _joined(run)
            run = []
        run.append(message)
    if run:
        yield _joined(run)


def _joined(messages: Sequence[Entry]) -> Entry:
    if len(messages) == 1:
        return messages[0]
    last = messages[-1]
    texts = [message.text() for message in messages]
    if not last.call_ids:
        return entry(last.role, "\n\n".join(texts))
    return with_text(last, "\n\n".join(texts if texts[-1] else texts[:-1]))
