"""A model on a real socket that asks for the tools which the message names, whatever became of its answers before."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from tests.fixtures.upstream import Reply, Seen, Upstream

CALLS = 3
TOOLS = ("pay", "pay", "look", "put", "ship")


@dataclass(frozen=True)
class Task:
    """What a message has the model do: its steps, each the tools and the numbers that they are called with."""

    name: str
    steps: tuple[tuple[tuple[str, int], ...], ...]

    @classmethod
    def make(cls, name: str, first: int, random: Random) -> Task:
        """Three calls, in one step or in three, or in two."""
        calls = [(random.choice(TOOLS), first + place) for place in range(CALLS)]
        sizes = random.choice([(3,), (1, 1, 1), (2, 1)])
        steps, start = [], 0
        for size in sizes:
            steps.append(tuple(calls[start : start + size]))
            start += size
        return cls(name, tuple(steps))

    @property
    def message(self) -> str:
        return orjson.dumps({"name": self.name, "steps": self.steps}).decode()

    @classmethod
    def read(cls, message: str) -> Task:
        """The last line counts: messages of users that have no answer between them are one for some models."""
        given = orjson.loads(message.splitlines()[-1])
        steps = [tuple([(str(tool), int(number)) for tool, number in step]) for step in given["steps"]]
        return cls(given["name"], tuple(steps))

    @property
    def calls(self) -> dict[int, str]:
        """The tools by their numbers."""
        return {number: tool for step in self.steps for tool, number in step}

    def text(self, step: int) -> str:
        return "".join(self.words(step))

    def words(self, step: int) -> list[str]:
        return [f"{self.name}/{step}/{place} " for place in range(6)]

    @property
    def texts(self) -> list[str]:
        """What it says in the whole turn, a text for each step."""
        return [self.text(step) for step in range(len(self.steps) + 1)]


class TaskModel(Upstream):
    """Knows from each request alone what comes next: the number of steps after the last message of the user."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self.problems: list[str] = []

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen, reply: Reply
    ) -> bytes:
        messages = seen.json["messages"]
        self.problems += [f"a request has {problem}" for problem in broken_pairs(messages)]
        del self.requests[:-100]
        return await super()._answer(reader, writer, seen, self._reply(messages))

    def _reply(self, messages: list[dict[str, Any]]) -> Reply:
        last = max(place for place, one in enumerate(messages) if one["role"] == "user")
        task = Task.read(messages[last]["content"])
        step = sum([bool(one.get("tool_calls")) for one in messages[last:]])
        calls = task.steps[step] if step < len(task.steps) else ()
        asked = [(tool, {"number": number}) for tool, number in calls]
        return Reply(tokens=task.words(step), calls=asked, delay=self._random.choice([0.0, 0.0, 0.003]))


def broken_pairs(messages: list[dict[str, Any]]) -> list[str]:
    """Calls without exactly one outcome after them, and outcomes without a call."""
    found, open_calls = [], list[str]()
    for one in messages:
        if one["role"] == "tool":
            if one["tool_call_id"] in open_calls:
                open_calls.remove(one["tool_call_id"])
            else:
                found.append(f"an outcome without its call: {one}")
            continue
        if open_calls:
            found.append(f"calls without outcomes before a message: {open_calls}")
        open_calls = [call.get("id") or call["call_id"] for call in one.get("tool_calls") or ()]
    return found + [f"calls without outcomes at the end: {open_calls}"] * bool(open_calls)
