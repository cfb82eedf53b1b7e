"""The prompt of a turn: system prompt and working memory become one request to the model."""

from __future__ import annotations

import asyncio
from functools import partial

from app.agents import Agent
from app.domain.message import Message
from app.events.local_log import Store
from app.llm.base import LLMRequest
from app.memory.working import Entry, WorkingMemory, entry
from app.storage import messages
from app.turns.desk import Desk

PAGE = 64
LARGE_BYTES = 65_536

MARKS = {
    "cancelled": "\n\n[This answer was stopped here.]",
    "failed": "\n\n[This answer was cut off here by an error.]",
    "interrupted": "\n\n[This answer was cut off here by a restart.]",
}


def as_entry(message: Message) -> Entry:
    """A stored message as the model sees it; an answer that is not whole says so."""
    mark = MARKS.get(message.status, "") if message.role == "assistant" else ""
    return entry(message.role, message.content + mark)


def with_instructions(agent: Agent, instructions: str) -> Entry:
    """The system prompt of a turn that has instructions of its own."""
    return entry("system", f"{agent.system.text()}\n\n{instructions}")


async def load_window(desk: Desk, store: Store, *, before: int) -> list[Entry]:
    """The newest stored messages below number `before`, as many as the working memory could use."""
    memory = desk.agent.working_memory
    session_id = desk.log.session.session_id
    window: list[Entry] = []
    while memory.wants_more(window):
        page = await store.database.read(partial(messages.context, session_id=session_id, before=before, limit=PAGE))
        window[:0] = [as_entry(message) for message in page]
        if len(page) < PAGE:
            break
        before = page[0].seq
    return window


async def _select(memory: WorkingMemory, window: list[Entry]) -> list[Entry]:
    if sum([len(item.encoded) for item in window if item.tokens is None]) < LARGE_BYTES:
        return list(memory.select(window))
    return list(await asyncio.to_thread(memory.select, window))  # counting tokens of that much takes a while


async def build(
    desk: Desk, store: Store, *, text: str, before: int, instructions: str | None = None
) -> tuple[LLMRequest, list[Entry]]:
    """The request of a turn that began with number `before`, and the messages in it (without the system prompt)."""
    if desk.window is None:
        desk.window = await load_window(desk, store, before=before)
    desk.window.append(entry("user", text))
    selected = await _select(desk.agent.working_memory, desk.window)
    # What was not selected now never will be: the window only moves on.
    desk.window = selected
    system = desk.agent.system if instructions is None else with_instructions(desk.agent, instructions)
    request = LLMRequest([system.encoded, *[item.encoded for item in selected]], desk.log.session.session_id)
    return request, list(selected)
