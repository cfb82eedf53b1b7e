"""Keys over HTTP: made, listed and revoked by callers that administer the server."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from app.domain.errors import Forbidden, InvalidRequest
from app.domain.principal import ANONYMOUS, Principal, Scope
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, principal_of
from app.doors.json_route import json_router
from app.doors.schemas.keys import CreateKey, Key, KeyList, NewKey, key_json
from app.doors.scopes import require

router = json_router("keys")


async def _find_administrator(request: Request) -> Principal:
    """The caller. Raises Forbidden (`missing_scope`): the guard lets callers with the usual rights through to here."""
    caller = principal_of(request)
    if caller.id == ANONYMOUS:
        sentence = (
            "This server asks for no keys, so it makes none: add one to auth.keys in its configuration, such as"
            " operator: {key: …, scopes: [admin]}."
        )
        raise Forbidden(sentence, reason="missing_scope", details={"scope": "admin"})
    require(caller, Scope.SERVER)
    return caller


Administrator = Annotated[Principal, Depends(_find_administrator)]
KeyPath = Annotated[str, Path(max_length=200, examples=["key_01jdb2q6m8r4t0v2x4z6b8"])]


@router.post("/admin/keys", summary="Make a key", status_code=201, response_model=NewKey)
async def create_key(runtime: AppRuntime, caller: Administrator, body: CreateKey) -> Response:
    """Its secret is in the answer and nowhere else."""
    _check_agents(runtime, caller, body)
    now_ms = runtime.now_ms()
    key, secret = await runtime.made_keys.create(
        body.name,
        scopes=frozenset(body.scopes),
        agents=body.agents,
        expires_ms=None if body.expires is None else now_ms + int(body.expires.total_seconds() * 1000),
        by=caller.id,
        is_rotation=body.rotate,
    )
    shown: NewKey = {**key_json(key, now_ms=now_ms), "key": secret}
    return answer(shown, 201)


@router.get("/admin/keys", summary="List the keys that were made", response_model=KeyList)
async def list_keys(runtime: AppRuntime, caller: Administrator) -> Response:
    now_ms = runtime.now_ms()
    return answer({"keys": [key_json(key, now_ms=now_ms) for key in runtime.made_keys.list()]})


@router.delete("/admin/keys/{key_id}", summary="Revoke a key", response_model=Key)
async def revoke_key(runtime: AppRuntime, caller: Administrator, key_id: KeyPath) -> Response:
    """At once here, within a second on every other server of the database."""
    key = await runtime.made_keys.revoke(key_id, by=caller.id)
    return answer(key_json(key, now_ms=runtime.now_ms()))


def _check_agents(runtime: AppRuntime, caller: Principal, body: CreateKey) -> None:
    """A key that is for some agents makes keys for those only. Raises InvalidRequest."""
    if body.agents is None and caller.agents is not None:
        raise InvalidRequest("agents: your key is for some agents only; name those that the new key is for.")
    for name in body.agents or ():
        agent = runtime.roster.find(name)
        if agent is None or (caller.agents is not None and name not in caller.agents):
            raise InvalidRequest(f"agents: there is no agent {name[:200]!r}.")
