"""What is served: agents, health, readiness."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.agents import Agent
from app.observability.metrics import CONTENT_TYPE
from app.routers.dependencies import runtime_of
from app.routers.errors import error_response
from app.routers.openapi import describe
from app.routers.sessions import answer

router = APIRouter()


def agent_json(agent: Agent) -> dict[str, Any]:
    config = agent.config
    return {
        "agent": agent.name,
        "name": config.name,
        "description": config.description,
        "llm": {"name": agent.llm.name, "model": agent.llm.model},
        "memory": {"strategy": config.memory.working.strategy},
        "tools": list(config.tools),
        "streaming": config.reasoning.enable_streaming,
    }


@router.get("/agents", **describe("The agents of this server", 200))
async def list_agents(request: Request) -> Response:
    return answer({"agents": [agent_json(agent) for agent in runtime_of(request).roster]})


@router.get("/agents/{agent}", **describe("An agent", 200))
async def get_agent(request: Request) -> Response:
    return answer(agent_json(runtime_of(request).roster.get(request.path_params["agent"])))


@router.get("/health", **describe("Alive", 200))
async def health(request: Request) -> Response:
    return answer({"status": "ok"})


@router.get("/ready", **describe("Able to work", 200))
async def ready(request: Request) -> Response:
    from app.domain.errors import HectorError, Unavailable

    runtime = runtime_of(request)
    try:
        if not runtime.is_ready:
            raise Unavailable("The server is starting or shutting down.", reason="shutting_down")
        await runtime.check()
    except HectorError as error:
        return error_response(error, request.scope.get("request_id", ""))
    return answer({"status": "ready"})


@router.get("/metrics", **describe("Figures for Prometheus", 200))
async def metrics(request: Request) -> Response:
    return Response(runtime_of(request).metrics.text(), media_type=CONTENT_TYPE)
