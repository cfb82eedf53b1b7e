"""The OpenAPI document: FastAPI's own, with the operations of signatures.py, the key, and what FastAPI cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from app import __version__
from app.doors.answers import answer
from app.doors.json_route import JsonRoute
from app.doors.schemas.errors import components
from app.routers.memories import LINES

_DESCRIPTION = "Sessions with agents, their messages as streams, memories and documents."
_TAGS = [
    {"name": "sessions", "description": "Create, list, read, end, cancel and terminate."},
    {"name": "messages", "description": "Send a message, wait for the answer or stream it; read what was said."},
    {"name": "acts", "description": "What agents do: calls of tools, approvals, results that come later."},
    {"name": "conversations", "description": "Fork, edit, export and import."},
    {"name": "memories", "description": "What agents remember beyond a session, and erasing it."},
    {"name": "documents", "description": "Document stores and search in them."},
    {"name": "keys", "description": "Keys that are made and revoked while the server runs."},
    {"name": "server", "description": "Agents, usage, health."},
]
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `auth.keys`. Without keys in the configuration none is needed.",
}
_USER = {
    "name": "X-User-Id",
    "in": "header",
    "required": False,
    "description": "The person on whose behalf the request is made, in UTF-8 or as `UTF-8''J%C3%BCrgen`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "example": "ann",
}
_USER_IN_QUERY = {
    **_USER,
    "name": "user_id",
    "in": "query",
    "description": "The same person; where header, address and body name several, they must agree.",
}


def install(app: FastAPI, *, needs_key: bool, public_url: str | None) -> None:
    """Let `app.openapi()` and `/openapi.json` answer with the document; made once, when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build_document(app, needs_key=needs_key, public_url=public_url)
        return app.openapi_schema

    async def show(_request: Request) -> Response:
        return answer(app.openapi())

    app.openapi = document  # type: ignore[method-assign]
    app.add_route("/openapi.json", show, methods=["GET"], include_in_schema=False)


def build_document(app: FastAPI, *, needs_key: bool, public_url: str | None) -> dict[str, Any]:
    from app.routers import signatures  # for this document alone: the start of the server does not wait for them

    prefix = urlsplit(public_url or "").path.rstrip("/")
    found = get_openapi(
        title="Hector",
        version=__version__,
        description=_DESCRIPTION,
        tags=_TAGS,
        servers=[{"url": prefix}] if prefix else None,
        routes=[
            route.described() if isinstance(route, JsonRoute) else route
            for route in (*app.routes, *signatures.router.routes, *signatures.memories_router.routes)
        ],
    )
    schemas = found["components"]["schemas"]
    errors = components()
    schemas.update(errors["schemas"])
    found["components"]["responses"] = errors["responses"]
    found["components"]["securitySchemes"] = {"key": _KEY}
    found["components"]["parameters"] = {"UserId": _USER, "UserIdInQuery": _USER_IN_QUERY}
    found["security"] = [{"key": []}] if needs_key else [{"key": []}, {}]
    for operation in _operations(found):
        for parameter in operation.get("parameters", []):
            _drop_null(parameter["schema"])
        if operation.get("security") != []:
            parameters = operation.setdefault("parameters", [])
            parameters += [{"$ref": f"#/components/parameters/{name}"} for name in found["components"]["parameters"]]
        for response in operation["responses"].values():
            if "$ref" in response:
                del response["description"]
        if "requestBody" in operation:
            _complete_body(operation["requestBody"], schemas)
    return found


def _drop_null(schema: dict[str, Any]) -> None:
    """A parameter that may be left out is never null: an address and a header have no such value."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del schema["anyOf"]
        schema.update({**choices[0], **schema})


def _complete_body(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """A body none of whose fields is required may be left out; JSON Lines are many items, not one."""
    if LINES in body["content"]:
        body["content"][LINES] = {"schema": {"type": "string"}, "itemSchema": body["content"][LINES]["schema"]}
        return
    name = body["content"]["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
    body["required"] = name not in schemas or bool({"required", "minProperties"} & schemas[name].keys())


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()
