"""What the objects of the OpenAI dialect mean, in the many variants that providers send."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

from app.domain.turn import Usage

_MAX_COUNT = 2**31
"""No answer has this many tokens; a larger count is not believed, and sums of smaller ones stay within 64 bits."""

_TELLING = ("message", "msg", "detail", "error_message", "error_msg", "error_description")
_WORDS = (*_TELLING, "status_msg", "title", "reason")
_CODES = ("code", "status_code", "error_code", "status")
_KINDS = ("type", "code", "status", "error_code", "error_type")
_STATUSES = range(400, 600)


@dataclass(frozen=True, slots=True)
class Reported:
    """A failure that the provider told inside a body of status 200.

    `words` are the provider's own. `code` is its number, mostly a status; `kind` its types and codes, such as
    `overloaded_error`, in one text.
    """

    words: str
    code: int | None = None
    kind: str = ""

    @property
    def status(self) -> int | None:
        """The code where it is the status of a failure."""
        return self.code if self.code in _STATUSES else None


def words_of(body: object) -> str:
    """What a provider says went wrong, from the many shapes that its error objects have."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return str(body)
    for inner in (body.get("error"), body.get("errors"), body.get("base_resp")):
        if inner:
            return words_of(inner)
    if isinstance(body.get("loc"), list) and isinstance(body.get("msg"), str):  # a FastAPI server names the key
        return f"{'.'.join(map(str, body['loc']))}: {body['msg']}"
    for name in _WORDS:
        said = body.get(name)
        if isinstance(said, str) and said:
            return said
        if isinstance(said, dict | list) and said:
            return words_of(said)
    return json.dumps(body, ensure_ascii=False, default=str)


def failure_of(event: dict[str, Any], choice: dict[str, Any] | None) -> Reported | None:
    """The failure that an object reports, in whatever shape; nothing when it reports none.

    An object with a choice is an answer, even if it has one of these keys as well, unless it has an `error`.
    """
    error = event.get("error") or event.get("errors") or (choice or {}).get("error")
    if error:
        return _reported(error, event)
    if event.get("object") == "error" or event.get("type") == "error":
        return _reported(event, event)
    if choice is not None:
        return None
    status = event.get("base_resp")
    if isinstance(status, dict):
        return _reported(status, event) if status.get("status_code") else None
    reported = _reported(event, event)
    has_words = any(isinstance(event.get(name), str | list | dict) and event.get(name) for name in _TELLING)
    return reported if has_words or reported.status is not None else None


def failure_named(event: object, body: bytes) -> Reported:
    """What an event says that its name calls an error."""
    if isinstance(event, dict):
        return failure_of(event, first_choice(event)) or _reported(event, event)
    return Reported(body[:2000].decode(errors="replace"))


def _reported(error: object, event: dict[str, Any]) -> Reported:
    if isinstance(error, list) and error:
        error = error[0]
    places = [place for place in (error, event) if isinstance(place, dict)]
    numbers = (_number(place.get(name)) for place in places for name in _CODES)
    kinds = (place.get(name) for place in places for name in _KINDS)
    return Reported(
        words_of(error),
        next((number for number in numbers if number is not None), None),
        " ".join(kind for kind in kinds if isinstance(kind, str)),
    )


def _number(code: object) -> int | None:
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) <= 9:
        code = int(code)
    return code if type(code) is int and 0 <= code < _MAX_COUNT else None


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
    """The counts of the provider; nothing when it tells none, or one that is no whole number in range."""
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if (prompt is None and completion is None) or not (_is_count(prompt) and _is_count(completion)):
        return None
    return Usage(prompt or 0, completion or 0, "provider")


def _is_count(count: object) -> bool:
    return count is None or (type(count) is int and 0 <= count < _MAX_COUNT)
