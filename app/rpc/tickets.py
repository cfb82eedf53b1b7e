"""Tickets over gRPC: metadata `ticket` instead of a key, for a program that is to have one session and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.domain.errors import InvalidRequest, Unauthenticated
from app.domain.principal import Principal
from app.doors.callers import on_behalf_of_named
from app.sessions.tickets import Right, Tickets

_RIGHTS: Mapping[str, Right] = {
    "/hector.v1.A2AService/FollowSession": Right.READ,
    "/hector.v1.A2AService/StreamMessage": Right.CHAT,
    "/hector.v1.A2AService/CancelTurn": Right.CHAT,
}
"""What a ticket opens: the same as on a WebSocket."""


def find_ticket(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Raises InvalidRequest: there are several."""
    found = [value for key, value in metadata if key == "ticket"]
    if len(found) > 1:
        raise InvalidRequest("ticket stands twice in the metadata.", reason="invalid_header")
    return None if not found else found[0] if isinstance(found[0], str) else found[0].decode("latin-1")


async def admit_ticket(
    tickets: Tickets, word: str, method: str, request: Any, metadata: Iterable[tuple[str, str | bytes]]
) -> Principal:
    """The owner of the session that the request names, for whose streams the ticket is.

    Raises: what `Tickets.admit` raises; Unauthenticated also for methods that no ticket opens.
    """
    right = _RIGHTS.get(method)
    if right is None:
        raise Unauthenticated("A ticket opens FollowSession, StreamMessage and CancelTurn of its session only.")
    owner = await tickets.admit(word, agent=request.agent, session_id=request.session_id, right=right)
    return on_behalf_of_named(owner, metadata)
