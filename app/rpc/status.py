"""Errors over gRPC: the error table's word as a status code, with google.rpc.ErrorInfo in the trailing metadata."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import orjson
from google.rpc import error_details_pb2, status_pb2

from app.domain.errors import HectorError, QuotaExceeded, Unavailable
from app.doors.error_table import status_of
from app.doors.errors import retry_headers

DOMAIN = "hector"
"""Of the `reason` in an ErrorInfo."""
_MOST_DETAILS = 4096
"""Bytes of details: metadata is limited to 8 KB on most clients."""
_MOST_SENTENCE = 1024
_LONG_TEXT = 200
"""Characters that are left of each text where the details are larger."""


async def refuse(context: Any, error: HectorError, request_id: str) -> NoReturn:
    """End the call with the status of `error`."""
    code = grpc.StatusCode[status_of(error)[1]]
    sentence = error.message[:_MOST_SENTENCE]
    details = _bounded(error.details)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"request_id": request_id})
    if details:
        info.metadata["details"] = details.decode()
    status = status_pb2.Status(code=code.value[0], message=sentence)
    status.details.add().Pack(info)
    metadata: list[tuple[str, str | bytes]] = [("reason", error.reason), ("x-request-id", request_id)]
    if isinstance(error, QuotaExceeded | Unavailable):
        metadata += [(name.lower(), value) for name, value in retry_headers(error).items()]
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(error.retry_after_seconds)
        status.details.add().Pack(retry)
    metadata.append(("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(code, sentence, tuple(metadata))
    raise AssertionError("abort raises")


def _bounded(details: dict[str, object]) -> bytes:
    """The details as JSON; of larger ones the beginning of each text, such as a partial answer; at worst nothing."""
    if not details:
        return b""
    whole = orjson.dumps(details)
    if len(whole) <= _MOST_DETAILS:
        return whole
    short = orjson.dumps(
        {name: value[:_LONG_TEXT] if isinstance(value, str) else value for name, value in details.items()}
    )
    return short if len(short) <= _MOST_DETAILS else b""
