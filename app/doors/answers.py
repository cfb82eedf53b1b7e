"""Answers of the API: bytes that no browser keeps, takes for something else, or lets a page from elsewhere embed."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

GUARDED = ((b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin"))
PRIVATE = (*GUARDED, (b"cache-control", b"no-store"))
PRIVATE_NAMES = {name.decode(): value.decode() for name, value in PRIVATE}
"""The same, for responses of Starlette."""


class Answer(Response):
    """`media_type` is sent as it is."""

    media_type = "application/json"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        self.raw_headers = [*PRIVATE]
        if self.status_code != 204:
            assert self.media_type is not None
            self.raw_headers += (
                (b"content-type", self.media_type.encode()),
                (b"content-length", b"%d" % len(self.body)),
            )
        if headers is not None:
            self.raw_headers += [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def answer(shown: object, status: int = 200) -> Response:
    """A JSON answer. FastAPI sends a Response as it is: the declared model describes it and costs nothing."""
    return Answer(orjson.dumps(shown), status)
