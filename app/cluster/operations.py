"""Operations: the methods that the owner of a session carries out, and how their arguments and results travel.

A part of the house says by `@at_owner` which of its methods these are. Their annotations say how to encode what goes
in and comes out; the first argument, the session, travels by its id, an agent by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

import orjson
from pydantic import TypeAdapter

from app.agents import Agent, Roster
from app.domain.errors import Unavailable
from app.events.log import SessionLog


@dataclass
class Operation:
    """One method of one part. Its annotations are looked at when it is needed first."""

    run: Callable[..., Awaitable[Any]]
    roster: Roster

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.run)

    @cached_property
    def _names(self) -> list[str]:
        """Of the arguments behind the session."""
        return list(inspect.signature(self.run).parameters)[1:]

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        return {name: TypeAdapter(hint) for name, hint in self._hints.items() if hint not in (Agent, SessionLog)}

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        given = {**dict(zip(self._names, args, strict=False)), **kwargs}
        return orjson.dumps({name: self._dump(name, value) for name, value in given.items()})

    async def carry_out(self, session_log: SessionLog, body: bytes) -> bytes:
        """Decode the arguments, run the method, and encode its result."""
        given = {name: self._load(name, value) for name, value in orjson.loads(body).items()}
        return orjson.dumps(self._dump("return", await self.run(session_log, **given)))

    def decode(self, answer: bytes) -> Any:
        return self._load("return", orjson.loads(answer))

    def _dump(self, name: str, value: Any) -> Any:
        if isinstance(value, Agent):
            return value.name
        return self._adapters[name].dump_python(value, mode="json")

    def _load(self, name: str, value: Any) -> Any:
        if self._hints[name] is not Agent:
            return self._adapters[name].validate_python(value)
        agent = self.roster.find(value)
        if agent is None:
            raise Unavailable(f"The server that has this session does not know the agent {value!r} yet; try again.")
        return agent


def operations_of(parts: list[object], roster: Roster) -> dict[str, Operation]:
    """Every `@at_owner` method of these parts, by its qualified name."""
    found: dict[str, Operation] = {}
    for part in parts:
        for name, method in inspect.getmembers(type(part), inspect.isfunction):
            if hasattr(method, "at_owner"):
                found[method.__qualname__] = Operation(getattr(part, name), roster)
    return found
