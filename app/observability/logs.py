"""Log lines on standard error: text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

from app.observability.neutral import escape, escape_json

# `client` is a logger of the package mcp.
_QUIET = ("asyncio", "aiohttp", "openai", "httpx2", "httpcore2", "alembic", "watchfiles", "pypdf", "mcp", "client")


IDS = ("request_id", "session_id", "turn_id", "agent")
"""What a line may carry beside its message (`extra=` of the call)."""


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, server, message, ids, and the traceback of an error."""

    def __init__(self, server: str | None = None) -> None:
        super().__init__()
        self._server = {} if server is None else {"server": server}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._server,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in IDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return escape_json(json.dumps(line, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """Lines for people. What a message quotes cannot begin a line of its own; a traceback is set in."""

    def __init__(self, server: str | None = None) -> None:
        name = "" if server is None else f"{server}: "
        super().__init__(f"%(asctime)s %(levelname)-7s {name}%(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escape(super().formatMessage(record))

    def formatException(self, given: Any) -> str:
        lines = super().formatException(given).split("\n")
        return "\n".join(["  " + escape(line) for line in lines])


def configure(*, level: str, form: Literal["text", "json"], server: str | None = None) -> None:
    """Set up the root logger; libraries speak from `warning` on. `server`: whose lines these are, among several."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JSONFormatter(server) if form == "json" else TextFormatter(server))
    logging.basicConfig(level=level.upper(), handlers=[stream], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
