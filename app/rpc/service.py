"""hector.v1.A2AService: sessions, messages and streams. Every method translates and decides nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc.aio import Server, ServicerContext

from app.auth.users import with_user
from app.conversation.conversation import Following, Sending
from app.domain.errors import InvalidRequest, overloaded
from app.domain.principal import Principal
from app.doors.callers import caller
from app.doors.json_route import validated, without_nul
from app.doors.list_cursor import read_cursor, write_cursor
from app.doors.pending import steered_json, waiting_json
from app.doors.response_format import read_format
from app.doors.schemas import acts as act_schemas
from app.doors.schemas.messages import SendMessage
from app.doors.schemas.sessions import CreateSession, session_json
from app.doors.schemas.turns import turn_json
from app.doors.sessions import check_metadata, detail_json, terminate
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated import hector_pb2_grpc as pb_grpc
from app.rpc.guard import uncut
from app.rpc.shapes import answer_message, call_message, filled, json_of, object_of, shown_call
from app.rpc.streams import send_stream
from app.runtime import Runtime
from app.sessions.draft import Draft
from app.sessions.tombstones import receipt_json
from app.turns.open_turn import OpenTurn

Context = ServicerContext[Any, Any]

PAGE = 50
MOST = 200
_STATUSES = ("active", "ended", "expired")
_ORDERS = ("creation", "activity")


def register(server: Server, runtime: Runtime, calls: Tasks) -> str:
    """Serve it on the port; returns its full name. `calls` keeps what must not stop with the caller."""
    pb_grpc.add_A2AServiceServicer_to_server(Service(runtime, calls), server)  # type: ignore[no-untyped-call]
    return pb.DESCRIPTOR.services_by_name["A2AService"].full_name


class Service(pb_grpc.A2AServiceServicer):
    def __init__(self, runtime: Runtime, calls: Tasks) -> None:
        self._runtime = runtime
        self._calls = calls

    # -- sessions -----------------------------------------------------------------------------------

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Context) -> pb.Session:
        runtime, agent = self._runtime, self._runtime.roster.get(request.agent, _principal(request))
        given = {
            "session_id": request.session_id or None,
            "title": request.title or None,
            "metadata": object_of(request.metadata) if request.HasField("metadata") else None,
            "ephemeral": request.ephemeral,
        }
        body = validated(without_nul(given), CreateSession)
        check_metadata(runtime, body.metadata)
        draft = Draft(title=body.title, metadata=body.metadata, ephemeral=body.ephemeral, seeds=())
        session_log, is_new = await runtime.sessions.create(
            _principal(request), agent.name, session_id=body.session_id, draft=draft
        )
        return filled(pb.Session(), detail_json(runtime, session_log, with_turn=not is_new))

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.Session:
        return filled(pb.Session(), detail_json(self._runtime, await self._session(request)))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        runtime, agent = self._runtime, self._runtime.roster.get(request.agent, _principal(request))
        order = _one_of("order", request.order or "creation", _ORDERS)
        limit = min(max(request.limit, 1), MOST) if request.limit else PAGE
        page = await runtime.sessions.list(
            _principal(request),
            agent.name,
            status=_one_of("status", request.status, _STATUSES) if request.status else None,
            order=order,
            before=read_cursor(request.cursor or None, order),
            limit=limit + 1,
        )
        last = page[limit - 1] if len(page) > limit else None
        next_cursor = ""
        if last is not None:
            moment = last.created_ms if order == "creation" else last.active_ms
            next_cursor = write_cursor(order, moment, last.session_id)
        expires_ms = runtime.endings.expires_ms
        shown = [filled(pb.Session(), session_json(one, expires_ms=expires_ms(one))) for one in page[:limit]]
        return pb.ListSessionsResponse(sessions=shown, next_cursor=next_cursor)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Context) -> pb.DeleteSessionResponse:
        session_log = await self._session(request)
        receipt = await terminate(self._runtime, _principal(request), session_log, forget_all=request.forget_all)
        return filled(pb.DeleteSessionResponse(), receipt_json(receipt))

    # -- messages -----------------------------------------------------------------------------------

    async def SendMessage(self, request: pb.SendMessageRequest, context: Context) -> pb.MessageResponse:
        """The stream, collected: the caller waits as a reader, and its leaving is a reader's leaving."""
        left = asyncio.Event()
        context.add_done_callback(lambda _: left.set())  # type: ignore[arg-type]
        following = await self._accept(request)
        await context.send_initial_metadata((("x-session-id", following.session_id),))
        if request.background:  # no reader: the client does not wait
            turn = await following.start()
            return pb.MessageResponse(
                turn_id=turn.turn_id,
                session_id=following.session_id,
                status="running",
                after=following.reading.cursor,
            )
        with following:
            turn = await following.start()
            if isinstance(turn, OpenTurn) and turn.steers:
                shown = steered_json(following, turn)
                return filled(pb.MessageResponse(status=_STEERED[shown["steer"]]), shown)
            outcome = await following.outcome(turn, left.wait)
            if outcome is None:
                waiting = await waiting_json(self._runtime, following, turn)
                calls = waiting.pop("calls")
                answer = filled(pb.MessageResponse(), waiting)
                answer.calls.extend([shown_call(call) for call in calls])
                return answer
            outcome.raise_for_end(following.session_id)
            return answer_message(following, outcome, is_json=following.is_json(turn))

    async def StreamMessage(self, request: pb.SendMessageRequest, context: Context) -> None:
        if request.background:
            raise InvalidRequest("background goes with SendMessage; a stream follows its turn anyway.")
        following = await self._accept(request)
        with following:
            view = following.view(following.running(await uncut(self._calls, following.start())))
            await context.send_initial_metadata((("x-session-id", following.session_id),))
            await send_stream(context, self._runtime.conversation, following.reading, view)

    async def FollowSession(self, request: pb.FollowSessionRequest, context: Context) -> None:
        _check_words(request)
        attached = await self._runtime.conversation.attach(
            _principal(request),
            request.agent,
            request.session_id,
            resume=request.cursor or None,
            after=str(request.after) if request.HasField("after") else None,
            until_turn_end=request.until_turn_end,
            debug=request.debug,
        )
        await context.send_initial_metadata((("x-session-id", request.session_id),))
        if attached is None:  # nothing to read, and nothing to come
            return
        with attached.reading as reading:
            await send_stream(context, self._runtime.conversation, reading, attached.view)

    # -- turns --------------------------------------------------------------------------------------

    async def CancelTurn(self, request: pb.CancelTurnRequest, context: Context) -> pb.CancelTurnResponse:
        session_log, turn_id = await self._session(request), request.turn_id or None
        if turn_id is not None:
            await self._runtime.history.find(session_log, turn_id)
        turn = await self._runtime.stopping.cancel(session_log, turn_id=turn_id, everything=request.all)
        if turn is None:
            return pb.CancelTurnResponse()
        return pb.CancelTurnResponse(turn=filled(pb.Turn(), turn_json(turn, request.session_id)))

    async def DecideApproval(self, request: pb.DecideApprovalRequest, context: Context) -> pb.Call:
        session_log, decisions = await self._session(request), self._runtime.house.decisions
        given = {
            "approved": request.approved if request.HasField("approved") else None,
            "arguments": json_of(request.arguments, "arguments"),
            "reason": request.reason or None,
            "remember": request.remember or None,
        }
        body = validated(without_nul(given), act_schemas.Decide)
        owner, _ = await decisions.locate(session_log, request.call_id)
        act = await decisions.decide(
            owner,
            request.call_id,
            approved=body.approved,
            by=_principal(request).effective_user,
            arguments=body.arguments,
            reason=body.reason,
            remember=body.remember,
        )
        return call_message(act)

    # -- what several of them need ------------------------------------------------------------------

    async def _session(self, request: Any) -> SessionLog:
        """The session of the request, if it is this caller's. Raises NotFound or SessionOver."""
        _check_words(request)
        agent = self._runtime.roster.get(request.agent, _principal(request))
        return await self._runtime.sessions.get(_principal(request), agent.name, request.session_id)

    async def _accept(self, request: pb.SendMessageRequest) -> Following:
        """Who asks, which session, what message. Raises: anything of the error table; nothing was stored."""
        runtime, conversation = self._runtime, self._runtime.conversation
        if not await runtime.lag.may_begin():
            raise overloaded("The server has more to do than it can do in time (server.max_lag)")
        _check_words(request)
        runtime.roster.get(request.agent, _principal(request))
        principal, key = _principal(request), request.idempotency_key or None
        session_log: SessionLog | None = None
        if request.session_id:
            session_log = await conversation.session(
                principal, request.agent, request.session_id, has_key=key is not None
            )
        given = {
            "message": request.message,
            "background": request.background,
            "on_busy": request.on_busy or None,
            "instructions": request.instructions or None,
            "response_format": json_of(request.response_format, "response_format"),
        }
        body = validated(without_nul(given), SendMessage)
        sending = Sending(
            text=body.message,
            instructions=body.instructions,
            background=body.background,
            on_busy=body.on_busy,
            key=key,
            debug=request.debug,
            response_format=read_format(body.response_format, runtime.config.server.max_metadata),
        )
        return await conversation.send(principal, request.agent, session_log, sending)


_STEERED = {"accepted": "steered", "queued": "queued"}


def _principal(request: Any) -> Principal:
    """The caller, on behalf of the user that the request names. Raises InvalidRequest: the metadata name another."""
    principal = caller.get()
    return with_user(principal, request.user_id) if request.user_id else principal


def _check_words(request: Any) -> None:
    for name in ("agent", "session_id", "turn_id", "call_id"):
        if "\0" in getattr(request, name, ""):
            raise InvalidRequest(f"{name}: cannot contain the character U+0000.")


def _one_of(field: str, word: str, words: tuple[str, ...]) -> Any:
    if word not in words:
        raise InvalidRequest(f"{field}: must be {', '.join(words[:-1])} or {words[-1]}.")
    return word
