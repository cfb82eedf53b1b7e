"""GET /usage: what was used, by whom, and what it cost by today's prices."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain.errors import InvalidRequest
from app.routers.dependencies import limit_of, principal_of, runtime_of
from app.routers.openapi import describe
from app.routers.sessions import answer
from app.runtime import Runtime
from app.sessions.ledger import EPOCH, By
from app.storage.usage import UsageRow

router = APIRouter()

_NAMES = {"user": "user_id", "session": "session_id", "agent": "agent", "day": "day"}


@router.get("/usage", **describe("Tokens by user, session, agent or day", 200))
async def get_usage(request: Request) -> Response:
    runtime, query = runtime_of(request), request.query_params
    by = query.get("by", "day")
    if by not in _NAMES:
        raise InvalidRequest("by must be user, session, agent or day.")
    first, last = _day_of(query.get("from"), "from"), _day_of(query.get("to"), "to")
    rows = await runtime.ledger.sums(
        principal_of(request), by=cast(By, by), first=first, last=last, limit=limit_of(request)
    )
    return answer(
        {
            "by": by,
            "from": first.isoformat() if first else None,
            "to": last.isoformat() if last else None,
            "usage": _grouped(runtime, by, rows),
        }
    )


def _grouped(runtime: Runtime, by: str, rows: list[UsageRow]) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
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


def _cost(runtime: Runtime, llm: str, row: UsageRow) -> float | None:
    """By the price table of the configuration; `None` for a model without a price."""
    config = runtime.config.llms.get(llm)
    if config is None or config.price is None:
        return None
    return (row.prompt_tokens * config.price.prompt + row.completion_tokens * config.price.completion) / 1_000_000


def _day_of(given: str | None, name: str) -> date | None:
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise InvalidRequest(f"{name} must be a day such as 2026-11-21.") from None
