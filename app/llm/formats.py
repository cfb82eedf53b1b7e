"""Formats of answers: the JSON objects that `LLMRequest.response_format` takes, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

USUAL_NAME = "answer"
"""Name of a schema whose author gave none; providers require one."""
_ALONE = "and with nothing else: no code fence, no other words"


def schema_format(schema: Mapping[str, Any], **details: object) -> bytes:
    """The format of answers that fit a JSON schema. `details`: `name`, `strict`, `description`."""
    return orjson.dumps({"type": "json_schema", "json_schema": {"name": USUAL_NAME, **details, "schema": schema}})


def schema_of(response_format: bytes) -> dict[str, Any] | None:
    """The JSON schema of a format; `None` where any object will do."""
    found: dict[str, Any] = orjson.loads(response_format)
    schema: dict[str, Any] | None = (found.get("json_schema") or {}).get("schema")
    return schema


def in_words(response_format: bytes) -> str:
    """A format as an instruction."""
    schema = schema_of(response_format)
    if schema is None:
        return f"Answer with one JSON object {_ALONE}."
    return f"Answer with JSON that fits this JSON schema, {_ALONE}:\n{orjson.dumps(schema).decode()}"
