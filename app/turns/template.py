"""Template: a request in the form that the strictest chat template takes.

At most one system message, which comes first; then the user and the assistant in turn, the user first and last; no
blank message (who makes the entries leaves those out). Templates of many models refuse everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from app.memory.working import Entry, entry

LEFT_OUT = "[…]"
"""Stands for a message of the user where the assistant would speak first or last."""


def begins_with_assistant(messages: Sequence[Entry]) -> bool:
    """Whether the template needs a message in front."""
    return bool(messages) and messages[0].role == "assistant"


def from_user(messages: Sequence[Entry]) -> list[Entry]:
    """The messages from the first one of the user on: for histories that were cut, where there is no room in front."""
    start = next((place for place, message in enumerate(messages) if message.is_users), 0)
    return list(messages[start:])


def fit_template(messages: Sequence[Entry]) -> list[bytes]:
    """The encoded messages of a request. Neighbours of one role are joined, system messages folded into the first."""
    roles = [message.role for message in messages]
    said = roles[1:] if roles and roles[0] == "system" else roles
    if _alternate(said):
        return [message.encoded for message in messages]
    return list(_repaired(messages))


def _alternate(roles: Sequence[str]) -> bool:
    """Whether the user speaks first and last, and nobody twice in a row."""
    users, others = roles[::2], roles[1::2]
    return len(users) == len(others) + 1 == users.count("user") and others.count("assistant") == len(others)


def _repaired(messages: Sequence[Entry]) -> Iterator[bytes]:
    system = [message for message in messages if message.role == "system"]
    said = [message for message in messages if message.role != "system"]
    if not said or said[0].role != "user":
        said.insert(0, entry("user", LEFT_OUT))
    if said[-1].role != "user":
        said.append(entry("user", LEFT_OUT))
    if system:
        yield _joined(system)
    for _, group in groupby(said, key=lambda message: message.role):
        yield _joined(list(group))


def _joined(messages: Sequence[Entry]) -> bytes:
    if len(messages) == 1:
        return messages[0].encoded
    return entry(messages[0].role, "\n\n".join([message.text() for message in messages])).encoded
