"""What a caller that waits is told where there is no answer yet: the turn waits for somebody, or was steered."""

from __future__ import annotations

from typing import Any

from app.conversation.conversation import Following
from app.domain.act import ActState
from app.domain.turn import Turn
from app.doors.schemas.acts import act_json
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


def steered_json(following: Following, turn: OpenTurn) -> dict[str, Any]:
    """What became of a message that is to enter the running turn: where none runs, it is a turn of its own."""
    running = following.running(turn)
    is_accepted = running is not turn
    return {
        "turn_id": running.turn_id,
        "session_id": following.session_id,
        "message_id": turn.user_message_id,
        "steer": "accepted" if is_accepted else "queued",
        "after": following.reading.cursor,
    }


async def waiting_json(runtime: Runtime, following: Following, turn: OpenTurn | Turn) -> dict[str, Any]:
    """A turn that waits for somebody, and the calls it waits for."""
    decisions = runtime.house.decisions
    found = await decisions.page(
        following.session_log, turn_id=turn.turn_id, states=[ActState.WAITING, ActState.UNKNOWN], limit=200
    )
    return {
        "turn_id": turn.turn_id,
        "session_id": following.session_id,
        "status": "waiting",
        "waiting_for": found[0].waiting_for if found else None,
        "calls": [act_json(act) for act in found],
        "after": following.session_log.visible_seq,
    }
