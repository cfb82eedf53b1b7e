"""The page about doors has every kind of event, and its words are those of the doors and of the error table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.compat.a2a.errors import to_a2a
from app.compat.openai.errors import error_answer
from app.domain import errors
from app.domain.errors import HectorError, agent_not_found, session_not_found, session_over
from app.domain.event import EventKind
from app.doors.error_table import status_of
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "doors.md").read_text(encoding="utf-8")
COMPAT = ROOT / "app" / "compat"
DOORS = {
    "OpenAI chat": [COMPAT / "openai" / "chat_chunks.py", COMPAT / "openai" / "relay.py"],
    "OpenAI responses": [COMPAT / "openai" / "response_events.py"],
    "AG-UI": [COMPAT / "agui_events.py"],
    "AI SDK": [COMPAT / "ui_message_chunks.py"],
    "MCP progress": [COMPAT / "mcp_server" / "progress.py", COMPAT / "mcp_server" / "results.py"],
    "VectorShift": [COMPAT / "vectorshift" / name for name in ("follower.py", "frames.py")],
    "A2A": [COMPAT / "a2a" / name for name in ("tasks.py", "events.py", "service.py")],
}
ERRORS: dict[str, HectorError] = {
    "unauthenticated": errors.Unauthenticated("x"),
    "missing_scope": errors.Forbidden("x", reason="missing_scope"),
    "forbidden_origin": errors.Forbidden("x"),
    "agent_not_found": agent_not_found("x"),
    "session_not_found": session_not_found("x"),
    "session_exists": errors.Conflict("x", reason="session_exists"),
    "session_busy": errors.Conflict("x", reason="session_busy"),
    "session_ended": session_over("ended", "x"),
    "session_terminated": session_over("terminated", "x"),
    "invalid_request": errors.InvalidRequest("x"),
    "too_large": errors.TooLarge("x"),
    "queue_full": errors.QuotaExceeded("x", reason="queue_full"),
    "llm_error": errors.ModelFailed("x"),
    "shutting_down": errors.Unavailable("x", reason="shutting_down"),
    "internal": errors.Internal("x"),
}


def table(heading: str) -> list[dict[str, str]]:
    """The rows of the first table below a heading, by the heads of their columns."""
    section = PAGE.partition(f"\n## {heading}\n")[2]
    lines = re.findall(r"^\|(.*)\|$", section.partition("\n## ")[0], re.MULTILINE)
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_table_has_every_kind_of_event_once() -> None:
    assert sorted(row["event"] for row in table("Events")) == sorted(f"`{kind}`" for kind in EventKind)


@pytest.mark.parametrize("door", DOORS)
def test_the_words_of_a_door_stand_in_its_code(door: str) -> None:
    code = "\n".join([file.read_text(encoding="utf-8") for file in DOORS[door]])
    words = {word for row in table("Events") for word in re.findall(r"`([^`]+)`", row[door])}
    assert words
    assert {word for word in words if not _stands_in(word, code)} == set()


def _stands_in(word: str, code: str) -> bool:
    """As it is, or put together: `response.queued`, `text-start`."""
    return word in code or all(f'"{part}' in code or f"{part}" in code for part in re.split(r"[.-]", word))


def test_the_table_of_errors_has_the_words_of_each_door() -> None:
    rows = table("Errors")
    assert [row["`reason`"].strip("`") for row in rows] == list(ERRORS)
    for row, error in zip(rows, ERRORS.values(), strict=True):
        status, code = status_of(error)
        assert row["HTTP"] == str(status), row
        assert row["gRPC"] in (f"`{code}`", "–"), row
        openai = str(error_answer(error, "req").status_code)
        assert row["OpenAI"].split()[0] == openai, row
        if row["A2A"].startswith("`"):
            assert row["A2A"] == f"`{type(to_a2a(error)).__name__}`", row


def test_a_page_that_lacks_a_kind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PAGE", PAGE.replace("| `budget` |", "| `budgets` |"))
    with pytest.raises(AssertionError):
        test_the_table_has_every_kind_of_event_once()


def test_every_file_that_the_test_looks_into_exists() -> None:
    assert all(Path(file).exists() for files in DOORS.values() for file in files)
