"""Frames that the server sends, as JSON text."""

from __future__ import annotations

from typing import Any, Literal

import orjson

Status = Literal["Processing", "AwaitingApproval", "Idle", "Offline"]
MOST_BYTES = 3_800_000
"""Of one frame: the client's WebSocket library refuses more than 4 MiB."""
CUT = "\n[cut: the rest is in the messages of the session]"


def created(session_id: str) -> bytes:
    return _frame("session_created", session_id, success=True)


def done(request: str, session_id: str, **fields: Any) -> bytes:
    """The answer to a request that was carried out."""
    return _frame(request, session_id, success=True, **fields)


def refused(request: str, session_id: str, sentence: str) -> bytes:
    """The answer to a request that was not.

    The client looks for a failure in the answers to these three requests only; of others it knows errors alone.
    """
    if request in ("connect_session", "post_message", "post_messages"):
        return _frame(request, session_id, success=False, error=sentence)
    return error(session_id, sentence, request=request)


def error(session_id: str, sentence: str, *, request: str | None = None) -> bytes:
    return _frame("error", session_id, error=sentence, request_type=request)


def pong(session_id: str) -> bytes:
    return _frame("pong", session_id)


def status(session_id: str, word: Status) -> bytes:
    return _frame("participant_status", session_id, message={"status": word})


def delta(session_id: str, message_id: str, index: int, escaped: bytes) -> bytes:
    """A piece of text. `escaped`: as it stands in a JSON string, without the quotes."""
    head = {"type": "message_delta", "session_id": session_id, "message_id": message_id, "index": index}
    return b'%b,"value":"%b"}' % (orjson.dumps(head)[:-1], escaped)


def notification(session_id: str, agent: str, message_id: str, content: dict[str, Any]) -> bytes:
    """A message of the agent."""
    return _frame("message_notification", session_id, message=message(session_id, message_id, by_agent(agent), content))


def complete(session_id: str, agent: str, message_id: str, text: str) -> bytes:
    """The whole answer, or as much of it as one frame takes."""
    text = text if len(text) <= MOST_BYTES else text[:MOST_BYTES] + CUT
    found = notification(session_id, agent, message_id, text_content(text))
    while len(found) > MOST_BYTES:
        text = text[: len(text) * MOST_BYTES // len(found) - len(CUT)]
        found = notification(session_id, agent, message_id, text_content(text + CUT))
    return found


def message(session_id: str, message_id: str, sender: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
    return {"id": message_id, "session_id": session_id, "sender": sender, "content": content}


def by_agent(agent: str) -> dict[str, str]:
    return {"object_id": agent, "object_type": "agent"}


def by_user(user_id: str) -> dict[str, str]:
    return {"user_id": user_id}


def text_content(text: str, word: str = "Complete") -> dict[str, Any]:
    """`word`: Complete, or Streaming for a text that is not at its end."""
    return {"type": "data_type_message", "value": text, "status": word}


def tool_content(name: str, call_id: str, word: Literal["streaming", "complete", "error"]) -> dict[str, Any]:
    return {"type": "tool_call", "tool_name": name, "tool_id": call_id, "status": word}


def _frame(kind: str, session_id: str, **fields: Any) -> bytes:
    return orjson.dumps({"type": kind, "session_id": session_id, **fields})
