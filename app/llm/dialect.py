"""What the objects of the OpenAI dialect mean, in the many variants that providers send."""

from __future__ import annotations

import json
from typing import Any

import orjson

from app.domain.turn import Usage


def words_of(body: object) -> str:
    """What a provider says went wrong, from the many shapes that its error objects have."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return str(body)
    error = body.get("error") or body.get("message") or body.get("detail") or body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False, default=str)


def code_of(event: dict[str, Any]) -> int | None:
    """The number of a reported failure, mostly a status."""
    error = event.get("error")
    code = error.get("code") if isinstance(error, dict) else event.get("code")
    return code if isinstance(code, int) else None


def loads(body: bytes) -> object:
    """The object of an event, strict JSON or nearly so; nothing when it is none."""
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    try:
        return json.loads(body.decode(errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def first_choice(event: dict[str, Any]) -> dict[str, Any] | None:
    """Choice number 0, the only one we ask for."""
    choices = event.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and not choice.get("index"):
                return choice
    return None


def usage_of(usage: dict[str, Any]) -> Usage | None:
    """The counts of the provider; nothing when it names none."""
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) and not isinstance(completion, int):
        return None
    return Usage(prompt or 0, completion or 0, "provider")
