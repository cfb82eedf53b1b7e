"""Summary: a text that replaces older messages of a session in requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Stands for all messages of its session up to number `upto_seq`.

    `tokens`: its size in a request, counted for the agent's model. `model`: the model that wrote it.
    """

    upto_seq: int
    text: str
    tokens: int
    model: str
    created_ms: int
