"""What is served: agents, health, readiness, figures."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from app.domain.errors import HectorError, Unavailable
from app.doors.answers import Answer, answer
from app.doors.dependencies import AppRuntime, Caller, NamedAgent
from app.doors.errors import error_response
from app.doors.json_route import json_router
from app.doors.schemas.agents import Agent, AgentList, Health, Readiness, agent_json
from app.observability.metrics import CONTENT_TYPE

router = json_router("server")


AskProvider = Annotated[
    bool, Query(description="Ask the model's provider for its context first, if it was not asked yet; 2 s at most.")
]


class _Exposition(Response):
    media_type = "text/plain"


@router.get("/agents", summary="The agents of this server", response_model=AgentList)
async def list_agents(runtime: AppRuntime, caller: Caller) -> Response:
    found: AgentList = {"agents": [agent_json(agent) for agent in runtime.roster.listed(caller)]}
    return answer(found)


@router.get("/agents/{agent}", summary="An agent", response_model=Agent)
async def get_agent(agent: NamedAgent, ask: AskProvider = False) -> Response:
    if ask and agent.budget is not None:
        await agent.budget.find()
    elif ask:
        await agent.llm.context.find()
    return answer(agent_json(agent))


@router.get("/health", summary="Alive", response_model=Health, openapi_extra={"security": []})
async def get_health() -> Response:
    found: Health = {"status": "ok"}
    return answer(found)


@router.get("/ready", summary="Able to work", response_model=Readiness, openapi_extra={"security": []})
async def get_readiness(request: Request, runtime: AppRuntime) -> Response:
    try:
        if not runtime.is_ready:
            raise Unavailable("The server is starting or shutting down.", reason="shutting_down")
        await runtime.check()
    except HectorError as error:
        return error_response(error, request.scope.get("request_id", ""))
    found: Readiness = {"status": "ready"}
    return answer(found)


@router.get("/metrics", summary="Figures for Prometheus", response_class=_Exposition)
async def get_metrics(runtime: AppRuntime) -> Response:
    return Answer(runtime.metrics.text(), media_type=CONTENT_TYPE)
