"""Tickets over HTTP: issuing one, and taking it out of the address of a stream."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from starlette.responses import Response
from starlette.types import Scope

from app.config.units import format_duration
from app.domain.clock import iso
from app.domain.errors import InvalidRequest, Unauthenticated
from app.domain.principal import Principal
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller, NamedSession
from app.doors.json_route import json_router
from app.doors.schemas.tickets import SHORTEST, USUAL, AskForTicket
from app.doors.schemas.tickets import Ticket as TicketShown
from app.doors.scopes import check_operation
from app.routers.websocket.caller import TicketUse
from app.sessions.tickets import Right, Tickets

router = json_router("sessions")

_STREAM = re.compile(r"/agents/([^/]+)/sessions/([^/]+)/messages/stream")
_SOCKET = re.compile(r"/agents/([^/]+)/stream")
_RESULT = re.compile(r"/agents/([^/]+)/sessions/([^/]+)/calls/([^/]+)/result")
_RIGHTS = {"GET": Right.READ, "HEAD": Right.READ, "POST": Right.CHAT}
_PARAMETERS = (b"ticket=", b"token=")


@router.post(
    "/agents/{agent}/sessions/{session_id}/tickets",
    summary="A ticket that opens the session's streams in a browser",
    status_code=201,
    response_model=TicketShown,
)
async def create_ticket(runtime: AppRuntime, caller: Caller, session_log: NamedSession, body: AskForTicket) -> Response:
    """It stands in the address, because EventSource sends no headers; the server writes it nowhere."""
    if "chat" in body.can:
        check_operation(caller, "session", "ticket to chat")
    longest = runtime.config.auth.max_ticket_ttl
    ttl = body.ttl if body.ttl is not None else min(USUAL, longest)
    if not SHORTEST <= ttl <= longest:
        raise InvalidRequest(f"ttl: from 1m to {format_duration(longest)} (auth.max_ticket_ttl).")
    rights = [Right[word.upper()] for word in body.can]
    made = runtime.tickets.issue(session_log.session, seconds=int(ttl.total_seconds()), rights=rights)
    found: TicketShown = {"ticket": made.word, "expires_at": iso(made.expires_ms)}
    response = answer(found, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


def take_ticket(scope: Scope) -> str | None:
    """Take the ticket, or the token of a call, out of the address, so that nothing behind writes it anywhere.

    Returns `None` if there is none, or if the address is no stream of a session, no socket and no result of a call:
    they count nowhere else.

    Raises:
        Unauthenticated: there are several.
    """
    query: bytes = scope.get("query_string", b"")
    if not any(name in query for name in _PARAMETERS):
        return None
    parts = query.split(b"&")
    found = [part.partition(b"=")[2] for part in parts if part.startswith(_PARAMETERS)]
    scope["query_string"] = b"&".join([part for part in parts if not part.startswith(_PARAMETERS)])
    is_known = _STREAM.fullmatch(scope["path"]) and scope.get("method") in _RIGHTS
    is_result = _RESULT.fullmatch(scope["path"]) and scope.get("method") == "POST"
    is_socket = scope["type"] == "websocket" and _SOCKET.fullmatch(scope["path"])
    if not found or not (is_known or is_result or is_socket):
        return None
    if len(found) > 1:
        raise Unauthenticated("The address has several tickets; send one.")
    return unquote_plus(found[0].decode("latin-1"))


async def admit(tickets: Tickets, ticket: str, scope: Scope) -> Principal:
    """The principal of a request whose address had the ticket. Raises what `Tickets.admit` raises."""
    if result := _RESULT.fullmatch(scope["path"]):
        return await tickets.admit_call(ticket, agent=result[1], session_id=result[2], call_id=result[3])
    if scope["type"] == "websocket":
        return await _admit_socket(tickets, ticket, scope)
    stream = _STREAM.fullmatch(scope["path"])
    assert stream is not None
    right = _RIGHTS[scope["method"]]
    return await tickets.admit(ticket, agent=stream[1], session_id=stream[2], right=right)


async def _admit_socket(tickets: Tickets, word: str, scope: Scope) -> Principal:
    """Keeps the ticket in the scope: what is done on the socket later has to be allowed by it, too."""
    socket = _SOCKET.fullmatch(scope["path"])
    assert socket is not None
    ticket = scope["ticket"] = TicketUse(word, tickets.session_of(word))
    return await tickets.admit(word, agent=socket[1], session_id=ticket.session_id, right=Right.READ)
