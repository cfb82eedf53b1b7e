"""Sessions as every door shows them, and what limits their metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import orjson

from app.domain.errors import InvalidRequest, TooLarge
from app.domain.principal import Principal
from app.domain.session import StopReceipt
from app.domain.turn import TurnState
from app.domain.webhook import Webhook
from app.doors.schemas.sessions import SessionDetail, session_json
from app.doors.schemas.turns import open_turn_json
from app.doors.schemas.webhooks import SessionWebhook
from app.doors.scopes import check_operation
from app.events.log import SessionLog
from app.observability import audit
from app.runtime import Runtime


def detail_json(runtime: Runtime, session_log: SessionLog, *, with_turn: bool = True) -> SessionDetail:
    """A session with the running turn, its text so far, and the queue."""
    session = session_log.session
    expires_ms = runtime.endings.expires_ms(session)
    found = cast(SessionDetail, session_json(session, expires_ms=expires_ms, last_seq=session_log.visible_seq))
    if with_turn:
        turns = runtime.history.open_turns(session_log)
        queued = [open_turn_json(turn) for turn in turns if turn.state is TurnState.QUEUED]
        found["queued"] = len(queued)
        found["queue"] = queued
        running = next((turn for turn in turns if turn.state is not TurnState.QUEUED), None)
        text = session_log.visible_text()
        found["turn"] = open_turn_json(running, text=text) if running is not None else None
    return found


def check_metadata(runtime: Runtime, metadata: dict[str, Any] | None) -> None:
    """Raises TooLarge: lists of sessions answer the metadata of each."""
    most = runtime.config.server.max_metadata
    if metadata and len(orjson.dumps(metadata)) > most:
        raise TooLarge(f"metadata: larger than {most} bytes (server.max_metadata).", details={"limit": most})


async def read_webhooks(runtime: Runtime, given: Sequence[SessionWebhook]) -> tuple[Webhook, ...]:
    """The webhooks of a session that is being created. Raises InvalidRequest: it may not have them."""
    if not given:
        return ()
    if runtime.webhooks is None or not runtime.config.webhook_delivery.per_session:
        raise InvalidRequest(
            "webhooks: sessions may have none here; webhook_delivery.per_session in the configuration allows them."
        )
    webhooks = tuple([one.read() for one in given])
    await runtime.webhooks.sender.check(webhooks)
    return webhooks


async def terminate(runtime: Runtime, caller: Principal, session_log: SessionLog, *, forget_all: bool) -> StopReceipt:
    """Terminate a session of the caller; with `forget_all` also what it left in wider memories.

    Raises: what `Terminations.terminate` raises, Forbidden (`missing_scope`).
    """
    if forget_all:
        check_operation(caller, "session", "forget_all")
        session = session_log.session
        audit.note(
            "forget", principal=caller.id, user=session.user_id, agent=session.agent, session_id=session.session_id
        )
    return await runtime.terminations.terminate(session_log, forget_all=forget_all)
