"""Structured answers: JSON, of a schema where one is given. What a request may ask for, and what is wrong with an
answer. An answer that does not fit is asked for again, once."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from app.agents import Agent
from app.domain.message import is_blank
from app.events.change import Change
from app.llm.base import LLMError
from app.llm.formats import USUAL_NAME, in_words, schema_format, schema_of
from app.memory.working import entry
from app.storage import turns
from app.tools.mistakes import kind, sentences
from app.tools.schemas import compiled, find_problem
from app.turns import checkpoint
from app.turns.acting import Acting
from app.turns.condensing import LARGE_BYTES
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.step import ensure_room

TEXT = b'{"type":"text"}'
"""The format of a turn that is to answer in words, whatever its agent usually does."""
OBJECT = b'{"type":"json_object"}'
CUT = "it was cut off at the limit of its length, so write less"
REPLACED = "replaced"
"""Status of an answer that another one of the same turn stands for: no later request has it."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FENCE = "```"
_EXACT = 2**53


class BadFormat(ValueError):
    """What a client asks for is no format; the message says what to write instead."""


def ready(given: Mapping[str, Any]) -> bytes:
    """The format that a client asks for, in the form that providers take.

    Taken are `{"type": "text"}`, `{"type": "json_object"}` and `{"type": "json_schema", "json_schema": {"name",
    "schema", "strict", "description"}}`, of which the inner fields may also stand beside `type`, and all but `schema`
    may be left out.

    Raises:
        BadFormat: it is none of these, or its schema is no JSON schema.
    """
    match given.get("type"):
        case "text":
            return TEXT
        case "json_object":
            return OBJECT
        case "json_schema":
            inner = given.get("json_schema", given)
            if not isinstance(inner, Mapping):
                raise BadFormat("json_schema: must be an object with a `schema`")
            return _ready_schema(inner)
    raise BadFormat("type: must be text, json_object or json_schema")


def _ready_schema(given: Mapping[str, Any]) -> bytes:
    schema, name = given.get("schema"), given.get("name", USUAL_NAME)
    if not isinstance(schema, dict):
        raise BadFormat('schema: must be a JSON schema, such as {"type": "object", "properties": …}')
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadFormat("name: must be 1 to 64 letters, digits, `_` or `-`")
    details = {key: given[key] for key in ("strict", "description") if given.get(key) is not None}
    if not isinstance(details.get("strict", False), bool):
        raise BadFormat("strict: must be true or false")
    if not isinstance(details.get("description", ""), str):
        raise BadFormat("description: must be a text")
    if (problem := find_problem(schema)) is not None:
        raise BadFormat(f"schema: is no JSON schema: {problem}")
    return schema_format(schema, name=name, **details)


def wanted(agent: Agent, asked: bytes | None) -> bytes | None:
    """What a turn of this agent is to answer in; `None`: in words. `asked`: what its request says."""
    found = asked if asked is not None else agent.response_format
    return None if found == TEXT else found


def inside(text: str) -> str:
    """The JSON text of an answer, without a fence and blanks around it."""
    text = text.strip()
    if len(text) < 2 * len(_FENCE) or not (text.startswith(_FENCE) and text.endswith(_FENCE)):
        return text
    head, _, fenced = text[len(_FENCE) : -len(_FENCE)].partition("\n")
    return fenced.strip() if head.strip().lower() in ("", "json") else text


def value_of(text: str) -> orjson.Fragment | None:
    """The JSON value of an answer, as it is written; `None` if it is none."""
    try:
        _parse(text)
    except ValueError:
        return None
    return orjson.Fragment(inside(text))


def _parse(text: str) -> Any:
    """Raises ValueError: a sentence without its subject."""
    if is_blank(text):
        raise ValueError("is empty")
    try:
        return json.loads(inside(text), parse_float=_number, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None


def mistakes(response_format: bytes, text: str) -> list[str]:
    """What is wrong with an answer, a sentence each; none if it is what was asked for."""
    try:
        value = _parse(text)
    except ValueError as error:
        return [f"it {error}"]
    schema = schema_of(response_format)
    if schema is None:
        return [] if isinstance(value, dict) else [f"it must be a JSON object, not {kind(value)}"]
    return sentences(compiled(schema).find_errors(value, cost=len(text) // 4096), root="it")


def _number(written: str) -> float:
    """5.0 as 5, which schemas take for an integer."""
    number = float(written)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _refuse(constant: str) -> None:
    raise ValueError(f"there is no number {constant}")


async def is_answered(desk: Desk, turn: OpenTurn, acting: Acting) -> bool:
    """Whether the turn has the answer it was asked for. Otherwise the model has been told, and is to be asked again.

    Raises:
        LLMError: it was told before.
        HectorError: the database failed.
    """
    response_format = wanted(desk.agent, turn.ask.response_format)
    if response_format is None:
        return True
    tape = desk.session_log.tape
    text = tape.text() if tape is not None else ""
    is_large = len(text) > LARGE_BYTES
    found = await asyncio.to_thread(mistakes, response_format, text) if is_large else mistakes(response_format, text)
    if not found:
        return True
    if turn.finish_reason == "length":
        found.append(CUT)
    if turn.is_mending:
        raise LLMError(f"The answer does not have the form that was asked for, and was asked for twice: {_all(found)}.")
    turn.is_mending = True
    if text:
        await _replace(desk, turn, acting, text)
    note = f"[Your answer does not have the form that was asked for: {_all(found)}. {in_words(response_format)}]"
    turn.entries.append(entry("user", note))
    return False


async def _replace(desk: Desk, turn: OpenTurn, acting: Acting, text: str) -> None:
    """Store what was said as a message that the next answer stands for."""
    now = acting.clock_ms()
    await ensure_room(desk.session_log, 1)
    async with Change(desk.session_log) as change:
        said = checkpoint.add_said(change, desk, turn, acting.new_id("msg"), now, status=REPLACED)
        change.set(active_ms=now)
        if turn.used is not None:
            turns.add_used(change.unit, turn.turn_id, turn.used)
    if not is_blank(text):
        turn.entries.append(said)


def _all(found: list[str]) -> str:
    return "; ".join(found)
