"""JSON in: bodies are JSON whatever their content type says. How they are answered is told in answers.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from app.auth.users import with_user
from app.config.server import ServerConfig
from app.domain.errors import HectorError, InvalidRequest, TooLarge, Unavailable
from app.doors.schemas.errors import RESPONSES

MAX_DEPTH = 64
"""Levels of a body. What is deeper cannot be written again: orjson reads 1024 levels and writes 254."""

LARGE = 1 << 20
"""Bytes of a body from which on it is looked through in a thread."""

Body = TypeVar("Body", bound=BaseModel)


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The raw body, whole.

    Raises:
        TooLarge: above `max_bytes`, as soon as that is known.
        Unavailable: the client left before its end.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body, message = await _read_more(body, receive, max_bytes)
    if message["type"] == "http.disconnect":
        raise Unavailable("The client has left.", reason="client_left")  # nobody reads this
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def _read_more(begin: bytes, receive: Receive, max_bytes: int) -> tuple[bytes, Message]:
    """The body, and the last message. As bytes that grow: adding to immutable ones copies them each time."""
    body, message = bytearray(begin), await receive()
    while True:
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body"):
            return bytes(body), message
        message = await receive()


def read_json(body: bytes) -> dict[str, Any]:
    """The object that a body is. No body, `{}`, `null` and blanks mean "no options".

    curl's `-d` announces a form; what counts is what was sent.

    Raises:
        InvalidRequest: `invalid_json`, or `invalid_request` if it is no object or nested too deep.
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
            given = without_nul(given)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequest('The body must be a JSON object, such as {"message": "Hello"}.')
    return given


def take_user(scope: Scope, given: dict[str, Any]) -> None:
    """Make the request on behalf of the user that its body names. Raises InvalidRequest if it named another before."""
    user_id = given.get("user_id")
    if user_id is None:
        return
    if not isinstance(user_id, str):
        raise InvalidRequest("user_id: must be a string")
    scope["principal"] = with_user(scope["principal"], user_id)


def check_items(count: int, server: ServerConfig) -> None:
    """Raises TooLarge: more messages, or memories, than one import may have."""
    most = server.max_import_items
    if count > most:
        raise TooLarge(
            f"The import has {count} items, and {most} is the most (server.max_import_items); send it in parts.",
            details={"limit": most},
        )


def parse(body: bytes, model: type[Body]) -> Body:
    """The body as `model`, for routes that read it themselves. Raises InvalidRequest, naming the field."""
    return validated(read_json(body), model)


def validated(given: dict[str, Any], model: type[Body]) -> Body:
    """An object as `model`. Raises InvalidRequest, naming the field."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_context=False, include_input=False)) from None


class JsonRoute(APIRoute):
    """A route whose body parameter is JSON whatever the content type says, within the limits of the configuration.

    Its endpoint returns a ready response: what the models of its answers look like is known to `described` alone,
    which the OpenAPI document asks, for FastAPI takes 50 ms to analyse all of them.
    """

    max_bytes_key = "max_body"
    """Key of the `server` section with the largest body."""

    @staticmethod
    def check(given: dict[str, Any], server: ServerConfig) -> None:
        """Raise what refuses a body before its fields are validated, which takes time for each of them."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._options = options | {"strict_content_type": False}
        super().__init__(path, endpoint, **(self._options | {"response_model": None, "responses": None}))

    def described(self) -> APIRoute:
        """The same route with the models of its answers."""
        return APIRoute(self.path, self.endpoint, **self._options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        has_body, max_bytes_key, check = self.body_field is not None, self.max_bytes_key, self.check

        async def handle_json(request: Request) -> Response:
            json_request: _JsonRequest | None = None
            if has_body:
                server = request.app.state.runtime.config.server
                max_bytes = getattr(server, max_bytes_key)
                request = json_request = _JsonRequest(request, max_bytes, partial(check, server=server))
            try:
                return await handle(request)
            except RequestValidationError as error:
                if json_request is not None and json_request.refusal is not None:
                    raise json_request.refusal from None
                # FastAPI puts the place (`query`, `body`, …) before the field.
                raise _invalid([{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]) from None

        return handle_json


class ImportRoute(JsonRoute):
    """A route that takes an export."""

    max_bytes_key = "max_import"

    @staticmethod
    def check(given: dict[str, Any], server: ServerConfig) -> None:
        messages = given.get("messages")
        if isinstance(messages, list):
            check_items(len(messages), server)


def json_router(tag: str) -> APIRouter:
    """A router for operations of one tag. The id of each is the name of its function."""
    return APIRouter(
        route_class=JsonRoute,
        tags=[tag],
        responses=RESPONSES,
        generate_unique_id_function=lambda route: route.name,
    )


def items_of(media_type: str, schema: str) -> dict[str, Any]:
    """`openapi_extra` of an operation that answers with many items of one schema, which FastAPI describes as a text."""
    item = {"$ref": f"#/components/schemas/{schema}"}
    return {"responses": {"200": {"content": {media_type: {"itemSchema": item}}}}}


class _JsonRequest(Request):
    """What FastAPI reads the body parameter from. An unreadable body counts as missing, so that it is refused only
    after the dependencies have been solved: an unknown session is 404, whatever was sent to it."""

    def __init__(self, request: Request, max_bytes: int, check: Callable[[dict[str, Any]], None]) -> None:
        # FastAPI takes a body without a content type for JSON, and others for text.
        headers = [header for header in request.scope["headers"] if header[0] != b"content-type"]
        super().__init__({**request.scope, "headers": headers}, request.receive)
        self.refusal: HectorError | None = None
        self._given: dict[str, Any] = {}
        self._max_bytes = max_bytes
        self._check = check

    async def body(self) -> bytes:
        try:
            body = await read_body(self.scope, self.receive, self._max_bytes)
            # Looking through a large body would hold up every other client.
            self._given = read_json(body) if len(body) < LARGE else await asyncio.to_thread(read_json, body)
            take_user(self.scope, self._given)
            self._check(self._given)
        except HectorError as error:
            self.refusal = error
            return b""
        return b"{}"

    async def json(self) -> dict[str, Any]:
        return self._given


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


def without_nul(given: Any) -> Any:
    """U+0000 as U+FFFD in every text: Postgres stores none, and what is stored must be what is shown."""
    if isinstance(given, str):
        return given.replace("\0", "\ufffd")
    if isinstance(given, list):
        return [without_nul(item) for item in given]
    if isinstance(given, dict):
        return {without_nul(name): without_nul(item) for name, item in given.items()}
    return given


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes (server.max_body).", details={"limit": max_bytes})


def _invalid(errors: Sequence[Any]) -> InvalidRequest:
    """The refusal of what pydantic found wrong, naming each field."""
    problems = [{"field": ".".join(map(str, problem["loc"])), "problem": problem["msg"]} for problem in errors]
    first = problems[0]
    return InvalidRequest(f"{first['field'] or 'body'}: {first['problem']}", details={"problems": problems})
