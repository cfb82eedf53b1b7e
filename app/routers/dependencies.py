"""What every route needs: the runtime, the caller, a JSON body whatever the content type says, a reader's departure."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Receive, Scope

from app.domain.errors import InvalidRequest, TooLarge
from app.domain.principal import Principal
from app.runtime import Runtime

MAX_DEPTH = 64
"""Levels of a body. What is deeper cannot be written again: orjson reads 1024 levels and writes 254."""

Body = TypeVar("Body", bound=BaseModel)


def runtime_of(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def principal_of(request: Request) -> Principal:
    principal: Principal = request.scope["principal"]
    return principal


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The raw body. Raises TooLarge above `max_bytes`, as soon as that is known."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        message = await receive()
        body += message.get("body", b"")
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def parse(body: bytes, model: type[Body]) -> Body:
    """The body as `model`. No body, `{}`, `null` and blanks mean "no options".

    curl's `-d` announces a form; what counts is what was sent.

    Raises:
        InvalidRequest: `invalid_json`, or `invalid_request` naming the field.
    """
    given: Any = {}
    if body.strip():
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not JSON: {error}", reason="invalid_json") from None
        if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deeper(given, MAX_DEPTH):
            raise InvalidRequest(f"The body is nested more than {MAX_DEPTH} levels deep.")
        if b"\\u0000" in body:
            given = _without_nul(given)
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise InvalidRequest('The body must be a JSON object, such as {"message": "Hello"}.')
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _invalid(error) from None


def _is_deeper(given: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other more than so many times."""
    nested = [given]
    for _ in range(levels):
        nested = [
            inner
            for item in nested
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return any(isinstance(item, dict | list) for item in nested)


def _without_nul(given: Any) -> Any:
    """U+0000 as U+FFFD in every text: Postgres stores none, and what is stored must be what is shown."""
    if isinstance(given, str):
        return given.replace("\0", "\ufffd")
    if isinstance(given, list):
        return [_without_nul(item) for item in given]
    if isinstance(given, dict):
        return {_without_nul(name): _without_nul(item) for name, item in given.items()}
    return given


async def body_of(request: Request, model: type[Body]) -> Body:
    return parse(await read_body(request.scope, request.receive, runtime_of(request).config.server.max_body), model)


async def gone(receive: Receive) -> None:
    """Return when the client has left. Only after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(waited: asyncio.Future[Any], receive: Receive) -> bool:
    """Wait for `waited` or for the client to leave; whether it stayed."""
    leaving = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait([waited, leaving], return_when=asyncio.FIRST_COMPLETED)
        return waited.done()
    finally:
        leaving.cancel()


def limit_of(request: Request, *, default: int = 50, most: int = 200) -> int:
    return integer_of(request, "limit", default=default, least=1, most=most)


def integer_of(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """A number in the query, held to `least` … `most`. Raises InvalidRequest if it is none."""
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        return min(max(int(given), least), most)
    except ValueError:
        raise InvalidRequest(f"{name} must be a whole number, not {given[:40]!r}.") from None


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes (server.max_body).", details={"limit": max_bytes})


def _invalid(error: ValidationError) -> InvalidRequest:
    problems = [
        {"field": ".".join([str(part) for part in problem["loc"]]), "problem": problem["msg"]}
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = problems[0]
    return InvalidRequest(f"{first['field'] or 'body'}: {first['problem']}", details={"problems": problems})
