"""The access log: one line for each request that is over. No query, header or body, so no key, ticket or text.

The lines go where `logging.access` says, and nowhere unless it does; their form is that of `logging.format`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from app.observability.lines import send_lines
from app.observability.neutral import escape, escape_json

log = logging.getLogger("hector.access")
log.propagate = False


@dataclass(frozen=True, slots=True)
class Access:
    """A request and its answer.

    `principal`: `None` for a caller that was not let in, or need not say who it is. `path`: as it was sent, without
    the query. `status`: 101 for a WebSocket, 499 if the client left before the answer began. `ms`: from the headers
    of the request to the end of the answer; of a stream or a socket as long as it was open. `bytes`: the length that
    the answer declares; `None` if it declares none, as streams do.
    """

    client: str | None
    principal: str | None
    method: str
    path: str
    route: str
    status: int
    ms: float
    bytes: int | None
    request_id: str | None


def is_on() -> bool:
    return bool(log.handlers)


def write(access: Access) -> None:
    log.info("", extra={"access": access})


def configure(place: str | None, *, form: Literal["text", "json"], server: str | None = None) -> None:
    """Send the lines to a file, which may be moved away at any time, or to standard output; `None`: nowhere.

    `server`: which one says so, among several.

    Raises OSError: the file cannot be written.
    """
    send_lines(log, place, _JSONLines(server) if form == "json" else _TextLines(server))


class _JSONLines(logging.Formatter):
    """One JSON object a line: time, server, and the fields of `Access` that are known."""

    def __init__(self, server: str | None) -> None:
        super().__init__()
        self._server = {} if server is None else {"server": server}

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        known = {name: value for name, value in asdict(_access(record)).items() if value is not None}
        return escape_json(json.dumps({"time": time, **self._server, **known}, ensure_ascii=False))


class _TextLines(logging.Formatter):
    """Time, server, client, principal, request, status, time it took, size and id, with `-` for what is not known."""

    def __init__(self, server: str | None) -> None:
        super().__init__(datefmt="%Y-%m-%d %H:%M:%S")
        self._server = "" if server is None else f"{server}: "

    def format(self, record: logging.LogRecord) -> str:
        found = _access(record)
        size = "-" if found.bytes is None else f"{found.bytes} B"
        line = (
            f"{self._server}{found.client or '-'} {found.principal or '-'} {found.method} {found.path}"
            f" {found.status} {found.ms:g} ms {size} {found.request_id or '-'}"
        )
        return escape(f"{self.formatTime(record, self.datefmt)} {line}")


def _access(record: logging.LogRecord) -> Access:
    found: Access = vars(record)["access"]
    return found
