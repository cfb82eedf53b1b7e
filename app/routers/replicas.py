"""The servers of the service over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from app.domain.principal import Scope
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller
from app.doors.json_route import json_router
from app.doors.schemas.replicas import ReplicaList, replicas_json
from app.doors.scopes import require

router = json_router("server")


@router.get("/admin/replicas", summary="The servers of the service", response_model=ReplicaList)
async def list_replicas(runtime: AppRuntime, caller: Caller) -> Response:
    """Each is asked; the one that has been there longest comes first. A server that is alone lists itself."""
    if not runtime.config.has_one_user:
        require(caller, Scope.SERVER)
    return answer(replicas_json(await runtime.replicas()))
