"""`/models`: the agents."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from app.compat.openai.chat import agent_of
from app.doors.answers import answer
from app.runtime import Runtime

CREATED = 1735689600
"""The clients want a time; agents have none."""


async def list_models(runtime: Runtime, request: Request) -> ASGIApp:
    return answer(
        {"object": "list", "data": [_model(agent.name) for agent in runtime.roster.listed(request.scope["principal"])]}
    )


async def get_model(runtime: Runtime, request: Request) -> ASGIApp:
    return answer(_model(agent_of(runtime, request.path_params["model"], request.scope["principal"]).name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "hector"}
