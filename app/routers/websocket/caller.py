"""Caller: who is on the other end of a socket, and what they may do on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.auth.users import with_user
from app.domain.errors import Forbidden, InvalidRequest, session_not_found
from app.domain.principal import Principal
from app.sessions.tickets import Right, Tickets


@dataclass(frozen=True, slots=True)
class TicketUse:
    """The ticket of a socket's address. It may expire while the socket is open, so it is looked at for each frame."""

    word: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Caller:
    """`session_id`: the session that frames mean that name none, if the address named one."""

    principal: Principal
    agent: str
    session_id: str | None
    ticket: TicketUse | None
    tickets: Tickets

    def on_behalf(self, given: dict[str, Any]) -> Principal:
        """The principal of a frame, which may name a user as the body of a request may. Raises InvalidRequest."""
        user_id = given.get("user_id")
        if user_id is None:
            return self.principal
        if not isinstance(user_id, str):
            raise InvalidRequest("user_id: must be a string")
        return with_user(self.principal, user_id)

    async def check(self, right: Right, session_id: str | None) -> None:
        """Raise unless the socket may do this in the session: what `Tickets.admit` raises, or NotFound."""
        ticket = self.ticket
        if ticket is None:
            return
        if session_id not in (None, ticket.session_id):
            raise session_not_found(str(session_id))
        await self.tickets.admit(ticket.word, agent=self.agent, session_id=ticket.session_id, right=right)

    def check_approves(self) -> None:
        """Raises Forbidden: no ticket approves calls."""
        if self.ticket is not None:
            raise Forbidden("A ticket does not approve calls; that takes a key.", reason="forbidden_ticket")
