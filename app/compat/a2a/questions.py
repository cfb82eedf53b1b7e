"""Questions: what a waiting turn asks of a client, as the message of an INPUT_REQUIRED task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from a2a.types import Message

from app.compat.a2a.parts import agent_message, data_part, text_part
from app.domain.act import Act
from app.domain.clock import iso

_SHOWN = ("call_id", "name", "arguments", "why", "rule", "question", "choices", "schema", "expires_at", "agent")


def question_of_act(act: Act) -> dict[str, object]:
    """What an act waits for. `type`: `approval`, `input` or `result`."""
    found: dict[str, object] = {"type": act.waiting_for or "input", "call_id": act.call_id, "name": act.name}
    found |= {"arguments": _arguments(act.effective), "why": act.why, "rule": act.rule, **(act.asked or {})}
    found["expires_at"] = iso(act.expires_ms)
    return _known(found)


def question_of_frames(waiting: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The same of a `waiting` frame and the `approval_request` frames that are open."""
    if waiting["waiting_for"] == "approval" and approvals:
        return [_known({**frame, "type": "approval"}) for frame in approvals]
    return [_known({**waiting, "type": waiting["waiting_for"]})]


def message_of(questions: Sequence[Mapping[str, object]], *, task_id: str, context_id: str) -> Message:
    """One sentence for people, and a data part for each question."""
    sentence = "\n".join([_sentence(question) for question in questions])
    name = questions[0].get("call_id", "") if questions else ""
    parts = [text_part(sentence or "The task waits."), *[data_part(question) for question in questions]]
    return agent_message(f"{task_id}.{name}", parts, task_id=task_id, context_id=context_id)


def _known(found: Mapping[str, Any]) -> dict[str, object]:
    return {"type": found["type"], **{name: found[name] for name in _SHOWN if found.get(name) is not None}}


def _sentence(question: Mapping[str, object]) -> str:
    if question["type"] == "approval":
        arguments = orjson.dumps(question.get("arguments")).decode()
        return f"May I run {question.get('name')} {arguments[:400]}? {question.get('why', '')}".rstrip()
    if question["type"] == "result":
        return f"The result of the call {question.get('name', question.get('call_id'))} is awaited."
    choices = question.get("choices")
    listed = f" ({', '.join(map(str, choices))})" if isinstance(choices, list | tuple) else ""
    return f"{question.get('question', 'What is your answer?')}{listed}"


def _arguments(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
