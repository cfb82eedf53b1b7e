"""The prompt of a turn: system prompt, recalled memories and working memory become one request to the model."""

from __future__ import annotations

import asyncio
from functools import partial

from app.agents import Agent
from app.domain.event import EventKind
from app.domain.message import Message
from app.events.local_log import Store
from app.llm.base import LLMRequest
from app.memory.working import Entry, WorkingMemory, entry
from app.storage import messages
from app.turns.desk import Desk, OpenTurn, Prompt
from app.turns.facts import show
from app.turns.recalling import Recalled

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
    return entry(message.role, message.content + mark, message.message_id, message.seq)


def system_of(agent: Agent, *parts: str | None) -> Entry:
    """The system prompt of a turn, with what is said this once below it.

    One message, for some models take no second one of this role.
    """
    said = [part for part in parts if part]
    return entry("system", "\n\n".join([agent.system.text(), *said])) if said else agent.system


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


async def build(desk: Desk, turn: OpenTurn, store: Store) -> Prompt:
    """What the model is told in this turn. What is still being recalled is waited for, but not for long."""
    again = turn.ask.again
    before = turn.started_seq if again is None else again.seq
    if desk.window is None:
        desk.window = await load_window(desk, store, before=before)
    desk.window.append(entry("user", turn.text, turn.user_message_id, before))
    # What was not selected now never will be: the window only moves on.
    selected = desk.window = await _select(desk.agent.working_memory, desk.window)
    if turn.recalling is None:
        return Prompt(system_of(desk.agent, turn.ask.instructions), list(selected))
    recalled = await _recalled(desk, turn, selected)
    system = system_of(desk.agent, turn.ask.instructions, recalled.block)
    return Prompt(system, list(selected), recalled.tokens)


async def _recalled(desk: Desk, turn: OpenTurn, selected: list[Entry]) -> Recalled:
    assert turn.recalling is not None
    shown = {item.message_id for item in selected}
    if turn.ask.again is not None and turn.ask.again.replaced_id is not None:
        shown.add(turn.ask.again.replaced_id)
    recalled = await turn.recalling.result(shown, desk.agent.llm.count_tokens)
    if turn.stop is not None:
        return recalled
    turn.memory = recalled.to_json()
    if recalled.how != "nothing":
        show(desk.log, turn, EventKind.MEMORY, {"turn_id": turn.turn_id, **turn.memory})
    return recalled


def request_of(desk: Desk, prompt: Prompt) -> LLMRequest:
    messages = [prompt.system.encoded, *[item.encoded for item in prompt.messages]]
    return LLMRequest(messages, desk.log.session.session_id)
