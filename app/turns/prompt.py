"""The prompt of a turn: system prompt, recalled memories and working memory become one request to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from app.agents import Agent
from app.domain.event import HistorySummarized, MemoryRecalled
from app.domain.label import Trust, least_trusted
from app.domain.message import Message, is_blank
from app.domain.summary import Summary
from app.domain.turn import Turn, Usage
from app.events.log import SessionLog
from app.llm.base import LLMRequest
from app.memory.summary_buffer import SummaryBuffer, block
from app.memory.working import Entry, calls_entry, entry
from app.storage import messages, summaries
from app.storage.connection import Connection
from app.turns.checkpoint import outcome_entry
from app.turns.condensing import counted
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn, Prompt
from app.turns.recalling import Recalled
from app.turns.summaries import Summaries
from app.turns.template import fit_template, from_user

PAGE = 64
NOTHING = Recalled("nothing")

MARKS = {
    "cancelled": "\n\n[This answer was stopped here.]",
    "failed": "\n\n[This answer was cut off here by an error.]",
    "interrupted": "\n\n[This answer was cut off here by a restart.]",
}


def as_entries(page: Sequence[Message], *, after: int = 0) -> list[Entry]:
    """The messages with a number above `after` as the model sees them; blank ones are left out."""
    names = {call.call_id: call.name for message in page for call in message.tool_calls}
    return [_as_entry(message, names) for message in page if message.seq > after and _has_something(message)]


def _has_something(message: Message) -> bool:
    return bool(message.tool_calls) or message.role == "tool" or not is_blank(message.content)


def _as_entry(message: Message, names: Mapping[str, str]) -> Entry:
    """A stored message; an answer that is not whole says so. `names`: of calls, by their ids."""
    if message.tool_calls:
        calls = [(call.call_id, call.name, call.arguments) for call in message.tool_calls]
        return calls_entry(message.content, calls, message.message_id, message.seq)
    if message.role == "tool":
        return outcome_entry(message, names.get(message.tool_call_id or "", "tool"))
    mark = MARKS.get(message.status, "") if message.role == "assistant" else ""
    return entry(message.role, message.content + mark, message.message_id, message.seq)


def system_of(agent: Agent, *parts: str | None) -> Entry | None:
    """The system prompt of a turn, with what is said this once below it.

    One message, for some models take no second one of this role.
    """
    said = [part for part in parts if part and not is_blank(part)]
    if not said:
        return agent.system
    return entry("system", "\n\n".join([agent.system.text(), *said] if agent.system is not None else said))


async def load_window(desk: Desk, *, before: int) -> None:
    """The newest stored messages below number `before`, as many as the working memory could use, and their summary."""
    memory = desk.agent.working_memory
    session = desk.session_log.session
    after = 0
    desk.summary = None
    if isinstance(memory, SummaryBuffer) and session.message_count > 2:
        desk.summary = await desk.session_log.database.read(
            partial(summaries.find, session_id=session.session_id, before=before)
        )
        after = desk.summary.upto_seq if desk.summary is not None else 0
    window: list[Entry] = []
    left_out = 0
    trust: Trust = "user"
    while await _wants_more(desk, window):
        page = await desk.session_log.database.read(
            partial(messages.context, session_id=session.session_id, before=before, limit=PAGE)
        )
        window[:0] = as_entries(page, after=after)
        trust = least_trusted(trust, *[message.trust for message in page])  # answers have that of all before them
        if isinstance(memory, SummaryBuffer):
            window = list(memory.clear(window))
        if len(page) < PAGE or page[0].seq <= after:
            break
        before = page[0].seq
    else:
        left_out = await _count_between(desk, after, before)
    desk.window, desk.left_out, desk.cleared, desk.trust = window, left_out, frozenset(), trust


async def _count_between(desk: Desk, after: int, before: int) -> int:
    """How many messages have a number between the two."""
    session_id = desk.session_id

    def count(connection: Connection) -> int:
        return messages.count(connection, session_id, upto=before - 1) - messages.count(
            connection, session_id, upto=after
        )

    return await desk.session_log.database.read(count)


async def _wants_more(desk: Desk, window: list[Entry]) -> bool:
    if not window:
        return True
    memory = desk.agent.working_memory
    if desk.agent.budget is not None:
        await desk.agent.budget.settle(window)
    return await counted(lambda: memory.wants_more(window), size=sum([len(item.encoded) for item in window]))


async def build(desk: Desk, turn: OpenTurn, summed_up: Summaries) -> Prompt:
    """What the model is told in this turn. What is still being recalled is waited for, but not for long."""
    again = turn.ask.again
    before = turn.started_seq if again is None else again.seq
    if desk.window is None or desk.is_stale:
        desk.window, desk.is_stale = None, False
        await summed_up.end(desk)
        await load_window(desk, before=before)
    assert desk.window is not None
    turn.read(turn.ask.trust, desk.trust)
    if not is_blank(turn.text):  # an earlier release may have queued it
        desk.window.append(entry("user", turn.text, turn.user_message_id, before))
    memory = desk.agent.working_memory
    summary: Summary | None = None
    if type(memory) is SummaryBuffer:
        if desk.agent.budget is not None:
            await desk.agent.budget.settle(desk.window)
        summary, selected = await summed_up.fit(desk, turn, memory, desk.window)
    else:
        # What was not selected now never will be: the window only moves on.
        selected = list(memory.select(desk.window))
        desk.left_out += len(desk.window) - len(selected)
        desk.window = selected
        if not memory.wants_more(selected):
            selected = from_user(selected)
        if left_out := desk.left_out + len(desk.window) - len(selected):
            turn.summary = {"status": "left_out", "left_out": left_out}
    if turn.summary is not None:
        turn.shown.append(desk.session_log.show(HistorySummarized(turn.turn_id, turn.summary)))
    if turn.recalling is None and summary is None:
        return Prompt(system_of(desk.agent, turn.ask.instructions), list(selected))
    recalled = await _recalled(desk, turn, selected) if turn.recalling is not None else NOTHING
    summed = block(summary.text) if summary is not None else ""
    tokens = recalled.tokens + (summary.tokens if summary is not None else 0)
    return Prompt(system_of(desk.agent, turn.ask.instructions, recalled.block, summed), list(selected), tokens)


async def _recalled(desk: Desk, turn: OpenTurn, selected: list[Entry]) -> Recalled:
    assert turn.recalling is not None
    shown = {item.message_id for item in selected}
    if turn.ask.again is not None and turn.ask.again.replaced_id is not None:
        shown.add(turn.ask.again.replaced_id)
    recalled = await turn.recalling.result(shown, desk.agent.llm.count_tokens)
    if turn.stop is not None:
        return recalled
    turn.read(recalled.trust)
    turn.memory = recalled.to_json()
    if recalled.how != "nothing":
        turn.shown.append(desk.session_log.show(MemoryRecalled(turn.turn_id, turn.memory)))
    return recalled


async def estimate_usage(session_log: SessionLog, agent: Agent, turn: Turn, text: str) -> Usage:
    """What a turn used that died with its process after `text`: its request is made again, without what it recalled
    and at most a page of messages long."""
    read, session_id, memory = session_log.database.read, turn.session_id, agent.working_memory
    asked = await read(partial(messages.find, session_id=session_id, message_id=turn.user_message_id))
    before = asked.seq + 1 if asked is not None else turn.first_seq
    summary: Summary | None = None
    if isinstance(memory, SummaryBuffer):
        summary = await read(partial(summaries.find, session_id=session_id, before=before))
    page = await read(partial(messages.context, session_id=session_id, before=before, limit=PAGE))
    window = as_entries(page, after=summary.upto_seq if summary is not None else 0)
    taken, system = summary.tokens if summary is not None else 0, system_of(agent, turn.instructions)

    def count() -> Usage:
        selected = memory.select(window, taken=taken) if isinstance(memory, SummaryBuffer) else memory.select(window)
        entries = [*([system] if system is not None else []), *selected]
        prompt = taken + sum([message.count(agent.llm.count_tokens) for message in entries])
        return Usage(prompt, agent.llm.count_tokens(text), "estimated")

    return await counted(count, size=len(text) + sum([len(message.encoded) for message in window]))


def request_of(desk: Desk, prompt: Prompt) -> LLMRequest:
    """The request of a turn's first step."""
    return LLMRequest(fit_template(prompt.entries), desk.session_log.session.session_id)
