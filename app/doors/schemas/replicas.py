"""Servers on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.domain.replica import ReplicaState
from app.doors.schemas.fields import Time


class Replica(TypedDict):
    id: Annotated[str, Field(examples=["hector-1-1f2e3d4c"])]
    name: str
    address: Annotated[str, Field(description="Where the other servers reach it.")]
    status: Annotated[str, Field(description="`ok`, or `silent`: it has not answered within 2 s.", examples=["ok"])]
    version: str | None
    started_at: Time
    lease_seconds: Annotated[
        float | None, Field(description="Until the others take over from it if it stays silent; null: it is alone.")
    ]
    is_first: Annotated[bool, Field(description="It does what only one does: expiry, retention, embedding.")]
    is_here: Annotated[bool, Field(description="It gives this answer.")]
    sessions: Annotated[int | None, Field(description="Warm ones that it works on.")]
    turns: Annotated[int | None, Field(description="Turns that run.")]
    readers: int | None
    mirrors: Annotated[int | None, Field(description="Sessions of other servers that it shows.")]
    takeovers: Annotated[int | None, Field(description="Sessions with open turns that it took over.")]
    tail: Annotated[
        str | None, Field(description="`up`, or `degraded`: Redis is away; null without Redis.", examples=["up"])
    ]


class ReplicaList(TypedDict):
    replicas: list[Replica]


def replicas_json(states: Sequence[ReplicaState]) -> ReplicaList:
    return {"replicas": [_replica_json(state) for state in states]}


def _replica_json(state: ReplicaState) -> Replica:
    working = state.working
    return {
        "id": state.replica_id,
        "name": state.name,
        "address": state.address,
        "status": "silent" if working is None else "ok",
        "version": None if working is None else working.version,
        "started_at": iso(state.started_ms),
        "lease_seconds": None if state.lease_seconds is None else round(state.lease_seconds, 1),
        "is_first": state.is_first,
        "is_here": state.is_here,
        "sessions": None if working is None else working.sessions,
        "turns": None if working is None else working.turns,
        "readers": None if working is None else working.readers,
        "mirrors": None if working is None else working.mirrors,
        "takeovers": None if working is None else working.takeovers,
        "tail": None if working is None else working.tail,
    }
