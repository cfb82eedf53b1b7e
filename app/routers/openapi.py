"""The OpenAPI document: what FastAPI cannot see because bodies are read by ourselves (any content type, no copies)."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app import __version__

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "reason", "message", "details", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "A canonical RPC word."},
                "reason": {"type": "string", "description": "A stable word to test for."},
                "message": {"type": "string", "description": "A sentence that says what to do."},
                "details": {"type": "object"},
                "request_id": {"type": "string"},
            },
        }
    },
}
_ERRORS = {
    400: "malformed JSON",
    401: "no or wrong key",
    403: "foreign origin",
    404: "unknown, or somebody else's",
    405: "this address has no such method",
    409: "busy, ended, taken, or another body under this key",
    410: "expired, terminated, or a cursor that cannot be served",
    413: "too large",
    421: "foreign host name",
    422: "invalid field",
    429: "queue or quota full",
    500: "our fault",
    502: "the model failed",
    503: "storage unavailable, or shutting down",
    504: "the model was too slow",
}
_PARAMETER = re.compile(r"{(\w+)}")
_STREAM_QUERY = (
    ("debug", "Show debug frames.", "boolean"),
    ("frames", "`text`: plain chunks only.", "string"),
)
_ATTACH_QUERY = (
    ("after", "Follow what comes after this event number; 0 from the start of what is kept.", "string"),
    ("until", "`turn_end`: close after the open turn.", "string"),
)


def describe(
    summary: str, status: int, body: type[BaseModel] | None = None, *, body_required: bool = True, also: str = ""
) -> dict[str, Any]:
    """Arguments of a route: its summary, success, body, and the errors that any route may answer.

    `also`: other ways to succeed, such as `"202 begun in the background"`, one a line.
    """
    content: dict[str, Any] = {"application/json": {"schema": {}}}
    responses = _responses(status, content)
    for line in also.splitlines():
        code, _, description = line.partition(" ")
        responses[code] = {"description": description, "content": content}
    extra: dict[str, Any] = {"responses": responses}
    if body is not None:
        extra["requestBody"] = _request_body(body, required=body_required)
    return {"summary": summary, "status_code": status, "openapi_extra": extra}


def install(app: FastAPI) -> None:
    """Complete the document of `app`: path parameters, and the streams, which are plain ASGI."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title="Hector", version=__version__, routes=app.routes)
            found["paths"] |= _streams(found["paths"])
            for path, operations in found["paths"].items():
                for operation in operations.values():
                    names = _PARAMETER.findall(path)
                    known = {parameter["name"] for parameter in operation.get("parameters", [])}
                    operation["parameters"] = [
                        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                        for name in names
                        if name not in known
                    ] + operation.get("parameters", [])
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _streams(paths: dict[str, Any]) -> dict[str, Any]:
    from app.routers.schemas import Regenerate, SendMessage

    events = {"text/event-stream": {"schema": {"type": "string"}}}
    post = {
        "summary": "Send a message and stream the turn (SSE)",
        "requestBody": _request_body(SendMessage, required=True),
        "responses": _responses(200, events),
        "parameters": [_query(*query) for query in _STREAM_QUERY],
    }
    get = {
        "summary": "Attach to the session's stream (SSE); never starts a turn",
        "responses": {**_responses(200, events), "204": {"description": "nothing new, and nothing to come"}},
        "parameters": [_query(*query) for query in _STREAM_QUERY + _ATTACH_QUERY],
    }
    return {
        "/agents/{agent}/messages/stream": {"post": post},
        "/agents/{agent}/sessions/{session_id}/messages/stream": {"post": dict(post), "get": get},
        "/agents/{agent}/sessions/{session_id}/regenerate/stream": {
            "post": {
                **post,
                "summary": "Answer the last message anew and stream the turn (SSE)",
                "requestBody": _request_body(Regenerate, required=False),
            }
        },
    }


def _query(name: str, description: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": kind},
    }


def _request_body(body: type[BaseModel], *, required: bool) -> dict[str, Any]:
    schema = body.model_json_schema()
    inner = schema.pop("$defs", {})
    schema = _inlined(schema, inner)
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _inlined(part: Any, inner: dict[str, Any]) -> Any:
    """The schema with its inner models written out where they are used."""
    if isinstance(part, dict):
        if "$ref" in part:
            return _inlined(inner[part["$ref"].rpartition("/")[2]], inner)
        return {name: _inlined(value, inner) for name, value in part.items()}
    return [_inlined(item, inner) for item in part] if isinstance(part, list) else part


def _responses(status: int, content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {str(status): {"description": "done", "content": content}}
    for code, description in _ERRORS.items():
        found[str(code)] = {"description": description, "content": {"application/json": {"schema": _ERROR}}}
    return found
