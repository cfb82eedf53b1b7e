"""The configuration over HTTP: what a reload would change."""

from __future__ import annotations

from starlette.responses import Response

from app.domain.principal import Scope
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller
from app.doors.json_route import json_router
from app.doors.schemas.configuration import ReloadChanges, changes_json

router = json_router("server")


@router.get("/admin/reload", summary="What a reload would change", response_model=ReloadChanges)
async def find_changes(runtime: AppRuntime, caller: Caller) -> Response:
    """The server reads its configuration again and compares it with what it serves. Private agents are told of to keys
    with the scope `admin`, and where the server has one user only."""
    changes = await runtime.find_changes()
    with_private = Scope.SERVER in caller.scopes or runtime.config.has_one_user
    return answer(changes_json(changes, with_private=with_private))
