"""Erasure on the wire: what is to be forgotten, and the receipt."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictStr
from typing_extensions import TypedDict

from app.domain.forgetting import ForgetReceipt as Receipt
from app.doors.schemas.fields import AgentName, NamedUser


class Forget(BaseModel):
    """At least one field; fields that are set are combined with AND."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"minProperties": 1, "examples": [{"user_id": "ann", "phrase": "xyzzy"}]},
    )

    user_id: NamedUser | None = None
    session_id: StrictStr | None = Field(default=None, min_length=1, max_length=128)
    memory_id: StrictStr | None = Field(default=None, min_length=1, max_length=128)
    phrase: StrictStr | None = Field(default=None, min_length=1, max_length=1000)


class FoundCounts(TypedDict):
    """What was stored of what the request names, before anything was removed."""

    sessions: int
    messages: int
    memories: int
    usage_rows: int


class ForgottenCounts(TypedDict):
    """Rows that were removed, or had parts of them removed, by kind."""

    sessions: int
    turns: int
    messages: int
    acts: int
    results: int
    events: int
    summaries: int
    titles: int
    idempotency_keys: int
    push_configs: int
    usage_rows: int
    remembered_rules: int
    memories: int
    versions: int
    vectors: int
    recalled: int


class ForgetReceipt(TypedDict):
    agent: AgentName
    user_known: Annotated[
        bool | None, Field(description="Whether anything was stored of the user; null where none is named.")
    ]
    found: FoundCounts
    removed: ForgottenCounts
    found_afterwards: Annotated[int, Field(description="Places where it was still found.")]
    found_in: Annotated[dict[str, int], Field(description="In which files, and how often.")]
    problem: Annotated[str | None, Field(description="What stood in the way; it is tried again.")]


def receipt_json(agent: str, receipt: Receipt) -> ForgetReceipt:
    found, removed = receipt.found, receipt.removed
    return {
        "agent": agent,
        "user_known": receipt.knows_user,
        "found": {
            "sessions": found["sessions"],
            "messages": found["messages"],
            "memories": found["memories"],
            "usage_rows": found["usage_rows"],
        },
        "removed": {
            "sessions": removed["sessions"],
            "turns": removed["turns"],
            "messages": removed["messages"],
            "acts": removed["acts"],
            "results": removed["results"],
            "events": removed["events"],
            "summaries": removed["summaries"],
            "titles": removed["titles"],
            "idempotency_keys": removed["idempotency_keys"],
            "push_configs": removed["push_configs"],
            "usage_rows": removed["usage_rows"],
            "remembered_rules": removed["remembered_rules"],
            "memories": removed["memories"],
            "versions": removed["versions"],
            "vectors": removed["vectors"],
            "recalled": removed["recalled"],
        },
        "found_afterwards": receipt.found_afterwards,
        "found_in": receipt.found_in,
        "problem": receipt.problem,
    }
