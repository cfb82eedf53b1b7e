"""History: the stored messages of a session in one frame, the newest that fit in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.compat.vectorshift import frames
from app.domain.message import Message
from app.events.log import SessionLog
from app.runtime import Runtime

PAGE = 100
NEWEST = 2**62
"""Above every number of an event."""
_FRAME_BYTES = 200


async def messages_frame(runtime: Runtime, session_log: SessionLog) -> bytes:
    """The answer to `get_messages`: oldest first. Raises Unavailable."""
    left, before, found = frames.MOST_BYTES - _FRAME_BYTES, NEWEST, list[bytes]()
    while left > 0:
        page = await runtime.history.messages(session_log, before=before, limit=PAGE)
        for message in reversed(page):
            encoded = [orjson.dumps(shown) for shown in _shown(session_log, message)]
            left -= sum([len(one) + 1 for one in encoded])
            if left <= 0:
                break
            found += reversed(encoded)
        if len(page) < PAGE:
            break
        before = page[0].seq
    head = frames.done("get_messages", session_log.session.session_id)
    return b'%b,"messages":[%b]}' % (head[:-1], b",".join(reversed(found)))


async def text_of_turn(runtime: Runtime, session_log: SessionLog, turn_id: str, *, upto: int) -> str:
    """What the agent said in a turn that is over, whose last event is `upto`. Raises Unavailable."""
    before, texts = upto + 1, list[str]()
    while True:
        page = await runtime.history.messages(session_log, before=before, limit=PAGE, roles=frozenset({"assistant"}))
        texts += [message.content for message in reversed(page) if message.turn_id == turn_id]
        if len(page) < PAGE or page[0].turn_id != turn_id:
            return "".join(reversed(texts))
        before = page[0].seq


def _shown(session_log: SessionLog, message: Message) -> Iterator[dict[str, Any]]:
    """A message as the client knows it; an answer that only asks for calls is shown as these."""
    session = session_log.session
    agent = frames.by_agent(session.agent)
    if message.role == "user":
        sender, content = frames.by_user(session.user_id), frames.text_content(message.content)
        yield frames.message(session.session_id, message.message_id, sender, content)
        return
    if message.role == "assistant" and message.content:
        content = frames.text_content(message.content)
        yield frames.message(session.session_id, message.message_id, agent, content)
    for call in message.tool_calls:
        content = frames.tool_content(call.name, call.call_id, "complete")
        yield frames.message(session.session_id, call.call_id, agent, content)
