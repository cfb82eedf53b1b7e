"""Facts of a turn that readers see at once and the database with its end: they do not wait for a commit.

Their numbers lie in the reserved block (`engine.HEADROOM` keeps room for them); a crash takes them back like text.
"""

from __future__ import annotations

from app.domain.event import EventKind
from app.events.log import SessionLog
from app.turns.desk import OpenTurn


def show(log: SessionLog, turn: OpenTurn, kind: EventKind, fields: dict[str, object], *, chunk: str = "") -> None:
    run = log.take_fact(kind, fields, turn_id=turn.turn_id, chunk=chunk)
    turn.shown.append(run)
    log.publish(run)
