"""What a server asks of a person (`elicitation/create`): as a question, and the answer as the server wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.tools.arguments import fit
from app.tools.base import Question
from app.tools.mcp.faults import Refused
from app.tools.schemas import compiled

MAX_QUESTION = 4_096
ELICITATION = "elicitation/create"
DONE, DECLINE = "done", "decline"
_ACTIONS = ("decline", "cancel")
_EMPTY = {"type": "object", "properties": {}}


class UnfitAnswer(Exception):
    """The message says what is wrong with it."""


def params_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request that a server makes. Raises Refused: it asks for something else than an answer."""
    params = request.get("params")
    if request.get("method") != ELICITATION or not isinstance(params, dict):
        raise Refused(f"asks for {str(request.get('method'))[:200]!r}, which is not offered", 0)
    return params


def question_of(params: Mapping[str, Any], *, mistake: str = "") -> Question:
    """The question; with the `mistake` in the answer before."""
    message = str(params.get("message", ""))[:MAX_QUESTION]
    text = f"{mistake}\n{message}" if mistake else message
    if params.get("mode") == "url":
        return Question(f"{text}\n{str(params.get('url', ''))[:MAX_QUESTION]}", choices=(DONE, DECLINE))
    return Question(text, schema=_schema_of(params))


def response_of(params: Mapping[str, Any], answer: object) -> dict[str, Any]:
    """The result of the elicitation. `{"action": "decline"}` and `{"action": "cancel"}` are answers to every question.

    Raises UnfitAnswer.
    """
    properties = _schema_of(params).get("properties")
    fields = properties if isinstance(properties, Mapping) else {}
    if isinstance(answer, Mapping) and answer.get("action") in _ACTIONS and "action" not in fields:
        return {"action": answer["action"]}
    if params.get("mode") == "url":
        return {"action": "decline" if answer == DECLINE else "accept"}
    return {"action": "accept", "content": _content_of(params, fields, answer)}


def _content_of(params: Mapping[str, Any], fields: Mapping[str, Any], answer: object) -> dict[str, Any]:
    """The fields of the answer, with the defaults of the schema. The only field may be answered without its name."""
    found = answer
    if not isinstance(found, Mapping) and len(fields) == 1:
        found = {next(iter(fields)): found}
    if not isinstance(found, Mapping):
        if fields:
            raise UnfitAnswer(f"The answer must be an object with the fields {', '.join(map(repr, fields))}.")
        found = {}
    defaults = {
        name: field["default"] for name, field in fields.items() if isinstance(field, Mapping) and "default" in field
    }
    content, mistakes = fit({**defaults, **found}, compiled(_schema_of(params)))
    if mistakes:
        raise UnfitAnswer(f"The answer does not fit: {'; '.join(mistakes)}.")
    fitting: dict[str, Any] = content
    return fitting


def _schema_of(params: Mapping[str, Any]) -> dict[str, Any]:
    schema = params.get("requestedSchema")
    return schema if isinstance(schema, dict) else _EMPTY
