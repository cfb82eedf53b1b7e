"""JSON log lines: one object a line, with the ids of what it is about."""

from __future__ import annotations

import json
import logging
import sys

from app.observability.logs import JSONFormatter


def line(record: logging.LogRecord) -> dict[str, object]:
    text = JSONFormatter().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def record(message: str, *args: object, **extra: str) -> logging.LogRecord:
    return logging.getLogger("app.x").makeRecord("app.x", logging.WARNING, "f", 1, message, args, None, extra=extra)


def test_a_line_has_time_level_logger_and_message() -> None:
    found = line(record("turn %s", "failed"))

    assert str(found.pop("time")).endswith("+00:00")
    assert found == {"level": "warning", "logger": "app.x", "message": "turn failed"}


def test_a_line_carries_the_ids_it_is_given_and_nothing_else() -> None:
    found = line(record("x", session_id="s", turn_id="t", request_id="r", agent="a", secret="no"))

    assert {"session_id", "turn_id", "request_id", "agent"} <= set(found)
    assert "secret" not in found


def test_a_traceback_stays_on_its_line() -> None:
    try:
        raise ValueError("out of\nplace")
    except ValueError:
        failed = logging.getLogger("app.x").makeRecord("app.x", logging.ERROR, "f", 1, "x", (), sys.exc_info())

    assert "ValueError: out of" in str(line(failed)["traceback"])
