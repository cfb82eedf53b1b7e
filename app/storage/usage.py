"""Used tokens in the database, by principal, user, agent, llm and day. Kept when sessions are deleted; no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, func, select, text

from app.storage import tables
from app.storage.counts import MOST_TOKENS, credible, read_count
from app.storage.engine.unit_of_work import UnitOfWork

DAY_MS = 86_400_000

_u = tables.usage
_s = tables.sessions
_t = tables.turns
# Both databases accept this statement; SQLAlchemy has a separate construct for each.
_PROMPT, _COMPLETION = (
    f"{name} = CASE WHEN usage.{name} BETWEEN 0 AND {MOST_TOKENS} THEN usage.{name} ELSE 0 END + excluded.{name}"
    for name in ("prompt_tokens", "completion_tokens")
)
_ADD = text(
    "INSERT INTO usage (principal, user_id, agent, llm, day, turns, prompt_tokens, completion_tokens) "
    "VALUES (:principal, :user_id, :agent, :llm, :day, :turns, :prompt, :completion) "
    "ON CONFLICT (principal, user_id, agent, llm, day) DO UPDATE SET "
    f"turns = usage.turns + excluded.turns, {_PROMPT}, {_COMPLETION}"
)

By = Literal["user", "agent", "day"]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one group and llm. `group` is a user, an agent, a session, or the number of a day since 1970."""

    group: str
    llm: str
    turns: int
    prompt_tokens: int
    completion_tokens: int


def add(
    unit: UnitOfWork,
    *,
    principal: str,
    user_id: str,
    agent: str,
    llm: str,
    now_ms: int,
    prompt: int,
    completion: int,
    turns: int = 1,
) -> None:
    """Add used tokens to the sums of a day. `turns`: 0 for tokens used outside a turn, such as for a summary."""
    unit.add(
        _ADD,
        {
            "principal": principal,
            "user_id": user_id,
            "agent": agent,
            "llm": llm,
            "day": now_ms // DAY_MS,
            "turns": turns,
            "prompt": prompt,
            "completion": completion,
        },
    )


def move(connection: Connection, row: dict[str, Any], *, to_user: str) -> None:
    """Add a row's figures to those of another user of the same principal, agent, llm and day."""
    values = {"prompt": row["prompt_tokens"], "completion": row["completion_tokens"]}
    names = ("principal", "agent", "llm", "day", "turns")
    connection.execute(_ADD, {**{name: row[name] for name in names}, **values, "user_id": to_user})


def sums(
    connection: Connection, *, principal: str, user_id: str | None, by: By, first_day: int | None, last_day: int | None
) -> list[UsageRow]:
    """Sums from `first_day` to `last_day`, both inclusive, by group and llm."""
    group = {"user": _u.c.user_id, "agent": _u.c.agent, "day": _u.c.day}[by]
    columns: tuple[Any, ...] = (
        group,
        _u.c.llm,
        func.sum(_u.c.turns),
        func.sum(credible(_u.c.prompt_tokens)),
        func.sum(credible(_u.c.completion_tokens)),
    )
    query = select(*columns).where(_u.c.principal == principal).group_by(group, _u.c.llm).order_by(group, _u.c.llm)
    if user_id is not None:
        query = query.where(_u.c.user_id == user_id)
    if first_day is not None:
        query = query.where(_u.c.day >= first_day)
    if last_day is not None:
        query = query.where(_u.c.day <= last_day)
    return [UsageRow(str(row[0]), row[1], int(row[2]), int(row[3]), int(row[4])) for row in connection.execute(query)]


def tokens_on(connection: Connection, *, principal: str, user_id: str | None, day: int) -> int:
    """Tokens, in and out, of a principal or of one of its users."""
    used = func.sum(credible(_u.c.prompt_tokens) + credible(_u.c.completion_tokens))
    query = select(used).where(_u.c.principal == principal, _u.c.day == day)
    if user_id is not None:
        query = query.where(_u.c.user_id == user_id)
    return int(connection.execute(query).scalar() or 0)


def by_session(
    connection: Connection,
    *,
    principal: str,
    user_id: str | None,
    from_ms: int | None,
    before_ms: int | None,
    limit: int,
) -> list[UsageRow]:
    """Total usage of sessions last active in that time, latest first. `llm` is the name of the agent here."""
    turns = (
        select(func.count())
        .where(_t.c.session_id == _s.c.session_id, _t.c.usage.is_not(None))
        .scalar_subquery()
        .label("turns")
    )
    query = select(_s.c.session_id, _s.c.agent, turns, _s.c.prompt_tokens, _s.c.completion_tokens).where(
        _s.c.principal == principal
    )
    if user_id is not None:
        query = query.where(_s.c.user_id == user_id)
    if from_ms is not None:
        query = query.where(_s.c.active_ms >= from_ms)
    if before_ms is not None:
        query = query.where(_s.c.active_ms < before_ms)
    rows = connection.execute(query.order_by(_s.c.active_ms.desc()).limit(limit))
    return [UsageRow(row[0], row[1], int(row[2]), read_count(row[3]), read_count(row[4])) for row in rows]
