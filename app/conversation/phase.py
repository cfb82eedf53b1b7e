"""Phase: what a session is busy with, told to readers that wait."""

from __future__ import annotations

import time

from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.turns.open_turn import OpenTurn


def phase_of(session_log: SessionLog, turn: OpenTurn | None) -> dict[str, object]:
    """`phase`, the seconds since the last token, the newest visible number, whether the tail is away.

    `turn` is the first open one.

    Before its first token the seconds count from the turn's start: the token before belongs to another answer.
    """
    found: dict[str, object] = {"phase": "idle"}
    if turn is not None:
        working = turn.phase or "model" if turn.recalling is None or turn.condensing is not None else "recalling"
        found["phase"] = "queued" if turn.state is TurnState.QUEUED else working
        if turn.state is TurnState.WAITING:
            found["phase"] = f"waiting for {turn.waiting_for}"
        since = max(session_log.last_text_clock or 0.0, turn.started_clock)
        if since:
            found["since_token_s"] = round(time.monotonic() - since, 1)
    found["seq"] = session_log.visible_seq
    if session_log.is_degraded:
        found["tail"] = "degraded"
    return found
