"""Commands: a client's frames carried out, one after another. What is wrong with one is answered; the socket lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from app.conversation.conversation import Following, Sending
from app.conversation.view import view_of
from app.domain.errors import HectorError, Internal, InvalidRequest, Unauthenticated, overloaded
from app.doors.json_route import LARGE, read_json, validated
from app.doors.pending import steered_json
from app.doors.response_format import read_format
from app.doors.schemas.acts import act_json
from app.doors.schemas.turns import turn_json
from app.doors.scopes import check_operation
from app.events.log import SessionLog
from app.routers.websocket.bodies import Approve, Attach, Cancel, Message
from app.routers.websocket.caller import Caller
from app.routers.websocket.followed import Followed
from app.routers.websocket.refusal import error_frame
from app.routers.websocket.socket import Socket
from app.runtime import Runtime
from app.sessions.draft import Draft
from app.sessions.tickets import Right
from app.turns.open_turn import OpenTurn

log = logging.getLogger(__name__)

_LONGEST_ID = 200
"""Characters of the `id` that a client gives a frame."""

Given = dict[str, Any]


class Commands:
    """What may be asked on one socket. `debug`, `top_only`: what its client wants to see of every session."""

    def __init__(self, runtime: Runtime, socket: Socket, caller: Caller, *, debug: bool, top_only: bool) -> None:
        self._runtime = runtime
        self._conversation = runtime.conversation
        self._socket = socket
        self._caller = caller
        self._debug = debug
        self._top_only = top_only
        self._session_id = caller.session_id
        """The session of frames that name none; until the address or the first message says which, there is none."""
        self._carry_out: Mapping[str, Callable[[Given], Awaitable[Given | None]]] = {
            "message": self._message,
            "attach": self._attach,
            "detach": self._detach,
            "cancel": self._cancel,
            "approve": self._approve,
            "ping": self._ping,
        }

    async def carry_out(self, frame: bytes) -> None:
        """Do what a frame says, and answer it if there is something to say."""
        given: Given = {}
        try:
            given = read_json(frame) if len(frame) < LARGE else await asyncio.to_thread(read_json, frame)
            if self._runtime.limits is not None:
                await self._runtime.limits.request(self._caller.principal)
            shown = await self._command(given)(given)
        except HectorError as error:
            await self._refuse(given, error)
        except Exception:
            request_id = self._socket.request_id
            log.exception("a frame of socket %s failed by our fault", request_id, extra={"request_id": request_id})
            await self._refuse(given, Internal("Something went wrong on our side; the log has the details."))
        else:
            if shown is not None:
                await self._socket.line.answer({"chunk": "", **shown, **_id_of(given)})

    def _command(self, given: Given) -> Callable[[Given], Awaitable[Given | None]]:
        kind = given.get("type", "message")
        found = self._carry_out.get(kind) if isinstance(kind, str) else None
        self._runtime.authenticator.check(self._caller.principal)
        check_operation(self._caller.principal, "websocket", str(kind))
        if found is None:
            raise InvalidRequest(f"type: must be one of {', '.join(self._carry_out)}, or be left out with a message.")
        return found

    async def _refuse(self, given: Given, error: HectorError) -> None:
        await self._socket.line.answer({**error_frame(error, self._socket.request_id), **_id_of(given)})
        is_void = self._caller.ticket is not None and error.reason == "session_terminated"
        if isinstance(error, Unauthenticated) or is_void:
            self._socket.close_for(error)  # its key or ticket is good for nothing any more

    # -- messages -------------------------------------------------------------------------------

    async def _message(self, given: Given) -> Given | None:
        """Start a turn, and follow its session from its beginning, if the socket does not follow it already."""
        if not await self._runtime.lag.may_begin():
            raise overloaded("The server has more to do than it can do in time (server.max_lag)")
        body = validated(given, Message)
        sending = Sending(
            text=body.message,
            instructions=body.instructions,
            background=body.background,
            on_busy=body.on_busy,
            key=body.key,
            debug=self._debug,
            response_format=read_format(body.response_format, self._runtime.config.server.max_metadata),
        )
        self._conversation.check_length(body.message)
        session_log = await self._session_for(given, body)
        principal = self._caller.on_behalf(given)
        following = await self._conversation.send(principal, self._caller.agent, session_log, sending)
        entered = None
        if not body.background and not self._socket.follows(following.session_id):
            entered = self._enter(following)
        try:
            if entered is not None:
                await self._conversation.count(entered.reading)
            turn = await following.start()
        except BaseException:
            if entered is not None:
                self._socket.unfollow(following.session_id)
            raise
        if entered is not None:
            if following.attached is not None:  # found by its key: it may have been over before the socket came
                entered.reading.cursor = min(entered.reading.cursor, following.reading.cursor)
            self._socket.follow(entered)
        if isinstance(turn, OpenTurn) and turn.steers:
            return {"type": "accepted", **steered_json(following, turn)}
        if not (body.background or following.attached is not None or "id" in given):
            return None  # `turn_started` or `turn_queued` says it
        place = {"session_id": following.session_id, "after": following.reading.cursor}
        return {"type": "accepted", "turn_id": turn.turn_id, **place}

    async def _session_for(self, given: Given, body: Message) -> SessionLog:
        """The session of a message; the first one that names none begins the socket's own."""
        session_id = body.session_id or self._session_id
        await self._caller.check(Right.CHAT, session_id)
        principal = self._caller.on_behalf(given)
        agent = self._runtime.roster.get(self._caller.agent, principal).name  # it may have gone since the handshake
        if session_id is not None:
            return await self._conversation.session(principal, agent, session_id, has_key=body.key is not None)
        if body.key is not None:
            raise InvalidRequest("key: counts within its session, so name the session_id, too.")
        draft = Draft(ephemeral=body.ephemeral)
        session_log, _ = await self._runtime.sessions.create(principal, agent, draft=draft)
        self._session_id = session_log.session.session_id
        return session_log

    def _enter(self, following: Following) -> Followed:
        """Become a reader before the turn starts, at the start of what runs now, else from here on."""
        after = self._conversation.joining_cursor(following.session_log)
        reading = self._conversation.read(following.session_log, following.agent, after=after)
        return self._socket.enter(reading, view_of(following.agent.config, debug=self._debug, top_only=self._top_only))

    # -- following ------------------------------------------------------------------------------

    async def _attach(self, given: Given) -> Given | None:
        body = validated(given, Attach)
        session_id = self._named(body.session_id)
        await self._caller.check(Right.READ, session_id)
        attached = await self._conversation.attach(
            self._caller.on_behalf(given),
            self._caller.agent,
            session_id,
            after=None if body.after is None else str(body.after),
            debug=self._debug,
            top_only=self._top_only,
        )
        shown: Given = {"type": "attached", "session_id": session_id}
        if attached is None:  # it is over, and there is nothing to read
            session_log = await self._session(given, session_id)
            return {**shown, "after": session_log.visible_seq, "status": session_log.session.status.value}
        followed = self._socket.enter(attached.reading, attached.view)
        self._session_id = self._session_id or session_id
        skip = attached.view.skip
        after = attached.reading.cursor if skip is None else f"{skip[0]}:{skip[1]}"
        await self._socket.line.answer({"chunk": "", **shown, "after": after, **_id_of(given)})
        self._socket.follow(followed)
        return None

    async def _detach(self, given: Given) -> Given:
        session_id = self._named(validated(given, Attach).session_id)
        if not self._socket.unfollow(session_id):
            raise InvalidRequest(f"This socket does not follow session {session_id!r}.")
        return {"type": "detached", "session_id": session_id}

    # -- turns and calls ------------------------------------------------------------------------

    async def _cancel(self, given: Given) -> Given | None:
        body = validated(given, Cancel)
        session_log = await self._allowed(given, body.session_id, Right.CHAT)
        if body.turn_id is not None:
            await self._runtime.history.find(session_log, body.turn_id)
        turn = await self._runtime.stopping.cancel(session_log, turn_id=body.turn_id, everything=body.all)
        session_id = session_log.session.session_id
        return {"type": "accepted", "turn": None if turn is None else turn_json(turn, session_id)}

    async def _approve(self, given: Given) -> Given:
        body = validated(given, Approve)
        self._caller.check_approves()
        session_log = await self._allowed(given, body.session_id, Right.CHAT)
        decisions = self._runtime.house.decisions
        owner, _ = await decisions.locate(session_log, body.call_id)
        act = await decisions.decide(
            owner,
            body.call_id,
            approved=body.approved,
            by=self._caller.on_behalf(given).effective_user,
            arguments=body.arguments,
            reason=body.reason,
            remember=body.remember,
        )
        return {"type": "accepted", "call": act_json(act)}

    async def _ping(self, _given: Given) -> Given:
        return {"type": "pong"}

    # -- sessions -------------------------------------------------------------------------------

    def _named(self, session_id: str | None) -> str:
        found = session_id or self._session_id
        if found is None:
            raise InvalidRequest("session_id: say which session; no message on this socket has begun one.")
        return found

    async def _allowed(self, given: Given, session_id: str | None, right: Right) -> SessionLog:
        named = self._named(session_id)
        await self._caller.check(right, named)
        return await self._session(given, named)

    async def _session(self, given: Given, session_id: str) -> SessionLog:
        principal = self._caller.on_behalf(given)
        agent = self._runtime.roster.get(self._caller.agent, principal)
        return await self._runtime.sessions.get(principal, agent.name, session_id)


def _id_of(given: Given) -> Given:
    """What the client calls its frame, given back with the answer."""
    name = given.get("id")
    is_short = isinstance(name, str) and len(name) <= _LONGEST_ID
    return {"id": name} if is_short or (isinstance(name, int) and not isinstance(name, bool)) else {}
