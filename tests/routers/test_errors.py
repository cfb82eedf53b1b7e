"""One table for all errors: status, RPC word and reason, as the contract says."""

from __future__ import annotations

import re

import orjson
import pytest

from app.domain import errors
from app.domain.errors import HectorError
from app.doors.error_table import status_of
from app.doors.errors import error_response
from app.doors.schemas.errors import DESCRIPTIONS

TABLE = {
    "invalid_json": (400, "INVALID_ARGUMENT"),
    "invalid_http": (400, "INVALID_ARGUMENT"),
    "invalid_header": (400, "INVALID_ARGUMENT"),
    "request_timeout": (408, "DEADLINE_EXCEEDED"),
    "url_too_long": (414, "RESOURCE_EXHAUSTED"),
    "headers_too_large": (431, "RESOURCE_EXHAUSTED"),
    "invalid_request": (422, "INVALID_ARGUMENT"),
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "forbidden_origin": (403, "PERMISSION_DENIED"),
    "forbidden_host": (421, "PERMISSION_DENIED"),
    "forbidden_ticket": (403, "PERMISSION_DENIED"),
    "forbidden_user": (403, "PERMISSION_DENIED"),
    "missing_scope": (403, "PERMISSION_DENIED"),
    "agent_not_found": (404, "NOT_FOUND"),
    "session_not_found": (404, "NOT_FOUND"),
    "turn_not_found": (404, "NOT_FOUND"),
    "message_not_found": (404, "NOT_FOUND"),
    "memory_not_found": (404, "NOT_FOUND"),
    "store_not_found": (404, "NOT_FOUND"),
    "call_not_found": (404, "NOT_FOUND"),
    "result_not_found": (404, "NOT_FOUND"),
    "key_not_found": (404, "NOT_FOUND"),
    "already_decided": (409, "ABORTED"),
    "approval_expired": (410, "FAILED_PRECONDITION"),
    "session_busy": (409, "ABORTED"),
    "turn_cancelled": (409, "ABORTED"),
    "idempotency_conflict": (409, "ALREADY_EXISTS"),
    "session_exists": (409, "ALREADY_EXISTS"),
    "key_exists": (409, "ALREADY_EXISTS"),
    "memory_off": (409, "FAILED_PRECONDITION"),
    "import_stopped": (409, "FAILED_PRECONDITION"),
    "invalid_config": (409, "FAILED_PRECONDITION"),
    "session_ended": (409, "FAILED_PRECONDITION"),
    "session_expired": (410, "FAILED_PRECONDITION"),
    "session_terminated": (410, "FAILED_PRECONDITION"),
    "cursor_expired": (410, "OUT_OF_RANGE"),
    "too_large": (413, "RESOURCE_EXHAUSTED"),
    "queue_full": (429, "RESOURCE_EXHAUSTED"),
    "rate_limited": (429, "RESOURCE_EXHAUSTED"),
    "llm_error": (502, "UNAVAILABLE"),
    "llm_timeout": (504, "DEADLINE_EXCEEDED"),
    "storage_unavailable": (503, "UNAVAILABLE"),
    "shutting_down": (503, "UNAVAILABLE"),
    "overloaded": (503, "UNAVAILABLE"),
    "issuer_unavailable": (503, "UNAVAILABLE"),
    "moved": (503, "UNAVAILABLE"),
    "internal": (500, "INTERNAL"),
}
DRAWN = re.findall(r"[├└]── (\w+) +(.+)", errors.__doc__ or "")
REASONS = [(name, reason) for name, reasons in DRAWN for reason in reasons.split(", ")]


@pytest.mark.parametrize(("name", "reason"), REASONS)
def test_every_reason_has_the_status_of_the_contract(name: str, reason: str) -> None:
    kind: type[HectorError] = getattr(errors, name)
    assert status_of(kind("A sentence.", reason=reason)) == TABLE[reason]


@pytest.mark.parametrize("name", [name for name, _ in DRAWN])
def test_every_error_has_a_status_by_its_class_too(name: str) -> None:
    kind: type[HectorError] = getattr(errors, name)
    assert status_of(kind("A sentence.", reason="a_reason_nobody_knows"))[0] >= 400


def test_an_error_nobody_thought_of_is_our_fault() -> None:
    assert status_of(HectorError("Oh.")) == (500, "INTERNAL")


@pytest.mark.parametrize("status", sorted({status for status, _ in TABLE.values()}))
def test_every_status_is_in_the_openapi_document(status: int) -> None:
    assert status in DESCRIPTIONS


def test_the_body_has_one_shape() -> None:
    error = errors.Conflict("It is busy.", reason="session_busy", details={"turn_id": "t1"})
    response = error_response(error, "req_1")
    assert orjson.loads(response.body) == {
        "error": {
            "code": "ABORTED",
            "reason": "session_busy",
            "message": "It is busy.",
            "details": {"turn_id": "t1"},
            "request_id": "req_1",
        }
    }
    assert (response.status_code, response.headers["X-Request-Id"]) == (409, "req_1")


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (errors.QuotaExceeded("Full.", reason="queue_full"), "Retry-After"),
        (errors.Unavailable("Down."), "Retry-After"),
        (errors.Unauthenticated("Who?"), "WWW-Authenticate"),
    ],
)
def test_a_client_is_told_what_to_do_about_it(error: HectorError, header: str) -> None:
    assert header in error_response(error, "req_1").headers
