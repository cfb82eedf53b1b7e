"""GET /usage: what was used, by whom, and what it cost by today's prices."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller, Limit
from app.doors.json_route import json_router
from app.doors.schemas.usage import UsageReport, UsageRow
from app.runtime import Runtime
from app.sessions.ledger import EPOCH
from app.storage.usage import UsageRow as StoredRow

router = json_router("server")

_NAMES = {"user": "user_id", "session": "session_id", "agent": "agent", "day": "day"}


def _read_day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise PydanticCustomError("day", "must be a day such as 2026-11-21") from None


Day = Annotated[date | None, BeforeValidator(lambda given: given if given is None else _read_day(given))]


@router.get("/usage", summary="Tokens by user, session, agent or day", response_model=UsageReport)
async def get_usage(
    runtime: AppRuntime,
    caller: Caller,
    by: Literal["user", "session", "agent", "day"] = "day",
    first: Annotated[Day, Query(alias="from", description="The first day, in UTC.")] = None,
    last: Annotated[Day, Query(alias="to", description="The last day.")] = None,
    limit: Limit = 50,
) -> Response:
    rows = await runtime.ledger.sums(caller, by=by, first=first, last=last, limit=limit)
    found: UsageReport = {
        "by": by,
        "from": first.isoformat() if first else None,
        "to": last.isoformat() if last else None,
        "usage": _grouped(runtime, by, rows),
    }
    return answer(found)


def _grouped(runtime: Runtime, by: str, rows: list[StoredRow]) -> list[UsageRow]:
    groups: dict[str, Any] = {}
    for row in rows:
        name = (EPOCH + timedelta(days=int(row.group))).isoformat() if by == "day" else row.group
        group = groups.setdefault(
            name,
            {_NAMES[by]: name, "turns": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": None},
        )
        group["turns"] += row.turns
        group["prompt_tokens"] += row.prompt_tokens
        group["completion_tokens"] += row.completion_tokens
        group["total_tokens"] += row.prompt_tokens + row.completion_tokens
        cost = _cost(runtime, _llm_of(runtime, row.llm) if by == "session" else row.llm, row)
        if cost is not None:
            group["cost"] = round((group["cost"] or 0.0) + cost, 6)
    return list(groups.values())


def _llm_of(runtime: Runtime, agent: str) -> str:
    found = runtime.roster.find(agent)
    return found.llm.name if found is not None else ""


def _cost(runtime: Runtime, llm: str, row: StoredRow) -> float | None:
    """By the price table of the configuration; `None` for a model without a price."""
    config = runtime.config.llms.get(llm)
    if config is None or config.price is None:
        return None
    return (row.prompt_tokens * config.price.prompt + row.completion_tokens * config.price.completion) / 1_000_000
