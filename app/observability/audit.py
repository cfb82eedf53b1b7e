"""Audit: who did what to keys, approvals and what is forgotten, one JSON object a line. No text of users or models.

The lines go where `logging.audit` says, and nowhere unless it does.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from app.observability.lines import send_lines
from app.observability.neutral import escape_json

log = logging.getLogger("hector.audit")
log.propagate = False


def note(action: str, *, principal: str | None, user: str | None = None, **facts: object) -> None:
    """Write a line: time, action, who, and what it was about. Facts that are `None` are left out.

    `principal`: who asked; `None`: a stranger. `user`: on whose behalf, or who decided.
    """
    if log.handlers:
        given = {"action": action, "principal": principal, "user": user, **facts}
        log.info(action, extra={"audit": {name: fact for name, fact in given.items() if fact is not None}})


class AuditFormatter(logging.Formatter):
    def __init__(self, server: str | None) -> None:
        super().__init__()
        self._server = {} if server is None else {"server": server}

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return escape_json(json.dumps({"time": time, **self._server, **vars(record)["audit"]}, ensure_ascii=False))


def configure(place: str | None, *, server: str | None = None) -> None:
    """Send the lines to a file, which may be moved away at any time, or to standard output; `None`: nowhere.

    `server`: which one says so, among several.

    Raises OSError: the file cannot be written.
    """
    send_lines(log, place, AuditFormatter(server))
