"""Responses and conversations by their ids alone: whose they are, the session says."""

from __future__ import annotations

from app.domain.errors import NotFound, SessionOver
from app.domain.ids import GENERATED_ID
from app.domain.principal import Principal
from app.domain.turn import Turn
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


async def find_response(runtime: Runtime, principal: Principal, response_id: str) -> tuple[SessionLog, OpenTurn | Turn]:
    """The turn and its session. Raises NotFound: unknown, somebody else's, or of a session that was deleted."""
    kind, _, tail = response_id.partition("_")
    turn_id = f"turn_{tail}"
    unknown = NotFound(f"There is no response {response_id[:80]!r} here.", reason="turn_not_found")
    if kind != "resp" or not GENERATED_ID.fullmatch(turn_id):
        raise unknown
    session_id = await runtime.house.turn_index.session_of(turn_id)
    if session_id is None:
        raise unknown
    try:
        session_log = await _find(runtime, principal, session_id)
        return session_log, await runtime.history.find(session_log, turn_id)
    except (NotFound, SessionOver):
        raise unknown from None


async def find_conversation(runtime: Runtime, principal: Principal, session_id: str) -> SessionLog:
    """The session. Raises NotFound: unknown, somebody else's, or deleted."""
    try:
        return await _find(runtime, principal, session_id)
    except (NotFound, SessionOver):
        raise NotFound(f"There is no conversation {session_id[:128]!r} here.", reason="session_not_found") from None


async def _find(runtime: Runtime, principal: Principal, session_id: str) -> SessionLog:
    """The session, if its agent is one for this caller: agents that only agents call have sessions of callers, too."""
    session_log = await runtime.sessions.get_by_id(principal, session_id)
    runtime.roster.get(session_log.session.agent, principal)
    return session_log
