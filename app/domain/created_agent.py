"""CreatedAgent: an agent that a client created over the API, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CreatedAgent:
    """What an entry of `agents:` is for the configuration, with an owner.

    `entry` is that entry as JSON text. `given` is the JSON text that the client sent, in the words of its dialect:
    only the door of that dialect reads it.
    """

    agent_id: str
    principal: str
    name: str
    """The name people see; several agents may have it."""
    entry: str
    given: str
    created_ms: int
    updated_ms: int
