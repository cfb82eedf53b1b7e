"""The form of the answer that a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from app.domain.errors import InvalidRequest, TooLarge
from app.turns.structured import BadFormat, ready


def read_format(given: Mapping[str, Any] | None, max_bytes: int) -> bytes | None:
    """The form of the answer that a body asks for. Raises InvalidRequest, TooLarge."""
    if given is None:
        return None
    if len(orjson.dumps(given)) > max_bytes:
        raise TooLarge(
            f"response_format: larger than {max_bytes} bytes (server.max_metadata).", details={"limit": max_bytes}
        )
    try:
        return ready(given)
    except BadFormat as error:
        problem = {"field": "response_format", "problem": str(error)}
        raise InvalidRequest(f"response_format: {error}", details={"problems": [problem]}) from None
