"""The wire object of an error, and the responses that describe errors in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict


class ErrorDetail(TypedDict):
    code: Annotated[str, Field(description="A canonical RPC word.", examples=["NOT_FOUND"])]
    reason: Annotated[str, Field(description="A stable word to test for.", examples=["session_not_found"])]
    message: Annotated[
        str, Field(description="A sentence that says what to do.", examples=["There is no session 'talk-1' here."])
    ]
    details: Annotated[dict[str, Any], Field(description="More about it; which fields depends on `reason`.")]
    request_id: Annotated[
        str, Field(description="Names the request in the log of the server.", examples=["req_6f1a2b3c4d5e6f70"])
    ]


class Error(TypedDict):
    """The body of every answer that is not a success."""

    error: ErrorDetail


DESCRIPTIONS = {
    400: "The body is not JSON, or the request is not well-formed HTTP.",
    401: "No key, or an unknown one.",
    403: "A page of a foreign origin, or a ticket without the right.",
    404: "Unknown, or it belongs to another caller.",
    405: "This address has no such method.",
    408: "The request arrived too slowly.",
    409: "Busy, ended, taken, or another body under this idempotency key.",
    410: "Expired, terminated, or a cursor that cannot be served any more.",
    413: "The body or the message is too large.",
    414: "The address is too long.",
    421: "The server does not answer to this host name.",
    422: "A field or parameter is invalid.",
    429: "A queue or quota is full.",
    431: "The headers are too large, or too many.",
    500: "A fault of the server.",
    502: "The model failed.",
    503: "The storage is unavailable, or the server is overloaded, starting or shutting down.",
    504: "The model was too slow.",
}
"""By status; every status that `app.doors.errors` maps an error to."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"$ref": f"#/components/responses/Error{status}", "description": description}
    for status, description in DESCRIPTIONS.items()
}
"""Any operation may answer any of these. References: as models of each operation they cost a second at the start."""


def components() -> dict[str, Any]:
    """What `RESPONSES` refers to."""
    schema = TypeAdapter(Error).json_schema(ref_template="#/components/schemas/{model}")
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "schemas": {**schema.pop("$defs"), "Error": schema},
        "responses": {
            f"Error{status}": {"description": description, "content": content}
            for status, description in DESCRIPTIONS.items()
        },
    }
