"""One WebSocket of a client: what it asks for, in order, and the sessions that it follows.

`terminate_session` overtakes what was asked before it: the client closes the socket without waiting for the answer, and
its next statement may connect to the same session through another socket, which must find it dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.compat.vectorshift import frames
from app.compat.vectorshift.content import ApprovalAnswer, approval_answer, text_of
from app.compat.vectorshift.follower import LATER, Follower
from app.compat.vectorshift.history import messages_frame
from app.conversation.conversation import Attached, Sending
from app.conversation.stream import leave
from app.domain.errors import HectorError, Internal, InvalidRequest, NotFound, overloaded, session_not_found
from app.domain.principal import Principal
from app.domain.session import SessionStatus
from app.doors.json_route import read_json
from app.doors.scopes import check_operation
from app.events.follow import Reading
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

log = logging.getLogger(__name__)

WAITING_REQUESTS = 32
"""Requests of one socket that were read and not carried out yet; further ones stay in the network."""
CATCH_UP_SECONDS = 0.05
"""Between the answer to `connect_session` and what is said already: until its program calls `listen`, the client drops
what it gets."""
CLOSE_SECONDS = 10.0
"""How long the requests of a client that has left may still take."""

Frame = dict[str, Any]


@dataclass(slots=True)
class _Followed:
    """A session that the socket is connected to; `reading` is `None` if nothing more comes from it."""

    session_log: SessionLog
    reading: Reading | None


class Connection:
    """One socket. `run` it once."""

    def __init__(self, runtime: Runtime, websocket: WebSocket) -> None:
        self._runtime = runtime
        self._websocket = websocket
        self._principal: Principal = websocket.scope["principal"]
        self._requests: asyncio.Queue[Frame | None] = asyncio.Queue(WAITING_REQUESTS)
        self._sessions: dict[str, _Followed] = {}
        self._is_open = True
        self._tasks = Tasks()
        self._handlers: dict[str, Callable[[Frame], Awaitable[None]]] = {
            "create_session": self._create,
            "connect_session": self._connect,
            "post_message": self._post,
            "post_messages": self._post,
            "get_messages": self._get_messages,
            "ping_session": self._ping,
            "disconnect_session": self._disconnect,
        }

    async def run(self) -> None:
        """Until the client leaves, or the server closes the socket."""
        await self._websocket.accept()
        self._tasks.start(self._watch_stop(), name="end of a VectorShift socket")
        worker = self._tasks.start(self._work(), name="requests of a VectorShift client")
        try:
            await self._receive()
        finally:
            self._is_open = False
            # A message that was sent before the client left counts.
            await asyncio.wait([worker, self._tasks.start(self._requests.put(None), name="end")], timeout=CLOSE_SECONDS)
            for followed in self._sessions.values():
                _leave(followed)
            await self._tasks.cancel()

    async def _receive(self) -> None:
        while True:
            try:
                received = await self._websocket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if received["type"] == "websocket.disconnect":
                return
            try:
                frame = _parse(received)
            except InvalidRequest as error:
                await self._send(frames.error("", error.message))
                continue
            if frame["type"] == "terminate_session":
                await self._terminate(frame)
            else:
                await self._requests.put(frame)

    async def _work(self) -> None:
        while (frame := await self._requests.get()) is not None:
            kind, session_id = str(frame["type"]), _session_id(frame)
            try:
                handle = self._handlers.get(kind)
                if handle is None:
                    raise InvalidRequest(f"type: {kind[:60]!r} is not known.")
                self._runtime.authenticator.check(self._principal)
                if self._runtime.limits is not None:
                    await self._runtime.limits.request(self._principal)
                check_operation(self._principal, "vectorshift", kind)
                await handle(frame)
            except HectorError as error:
                await self._send(frames.refused(kind, session_id, error.message))
            except Exception:
                log.exception("a request of a VectorShift client failed by our fault")
                fault = Internal("Something went wrong on our side; the log has the details.")
                await self._send(frames.refused(kind, session_id, fault.message))

    async def _send(self, frame: bytes) -> None:
        """Nothing happens to a frame for a client that has left."""
        if not self._is_open:
            return
        try:
            await self._websocket.send({"type": "websocket.send", "text": frame.decode()})
        except (WebSocketDisconnect, RuntimeError, OSError):
            self._is_open = False

    # -- requests -------------------------------------------------------------------------------

    async def _create(self, frame: Frame) -> None:
        name = frame.get("object_id")
        if not isinstance(name, str) or not name:
            raise InvalidRequest("object_id: the id of an agent is needed.")
        agent = self._runtime.roster.get(name, self._principal)
        session_log, _ = await self._runtime.sessions.create(self._principal, agent.name)
        await self._send(frames.created(session_log.session.session_id))

    async def _connect(self, frame: Frame) -> None:
        session_log = await self._find(_session_id(frame))
        is_open = self._runtime.conversation.open_turn(session_log) is not None
        await self._follow(session_log, pause=CATCH_UP_SECONDS if is_open else 0.0)
        await self._send(frames.done("connect_session", session_log.session.session_id))

    async def _post(self, frame: Frame) -> None:
        session_id = _session_id(frame)
        if frame["type"] == "post_messages":
            contents = frame.get("messages")
            if not isinstance(contents, list):
                raise InvalidRequest("messages: must be a list.")
        else:
            contents = [frame.get("content")]
            if (answer := approval_answer(contents[0])) is not None:
                await self._decide(session_id, frame, answer)
                return
        if not await self._runtime.lag.may_begin():
            raise overloaded("The server has more to do than it can do in time (server.max_lag)")
        session_log = await self._find(session_id)
        self._runtime.admission.check_accepts(session_log)
        sending = Sending(text=_not_blank(text_of(contents)))
        following = await self._runtime.conversation.send(
            self._principal, session_log.session.agent, session_log, sending
        )
        await self._follow(session_log)  # its reading keeps the turn alive; that of `following` is not needed
        turn = await following.start()
        message_id = turn.user_message_id if isinstance(turn, OpenTurn) else None
        await self._send(frames.done(str(frame["type"]), session_id, message_id=message_id))

    async def _decide(self, session_id: str, frame: Frame, answer: ApprovalAnswer) -> None:
        """`parent_message_id` names the request for approval, which has the id of its call."""
        call_id = frame.get("parent_message_id")
        if not isinstance(call_id, str):
            raise InvalidRequest("parent_message_id: the id of the request for approval is needed.")
        check_operation(self._principal, "session", "answer_call")
        session_log = await self._find(session_id)
        decisions = self._runtime.house.decisions
        owner, act = await decisions.locate(session_log, call_id)
        by = self._principal.effective_user
        if act.waiting_for == "input":
            error = None if answer.is_approved else answer.reason
            await decisions.give_result(owner, call_id, by=by, result=answer.result, error=error)
        else:
            arguments, reason = answer.edit(act.effective)
            await decisions.decide(
                owner, call_id, approved=answer.is_approved, by=by, arguments=arguments, reason=reason
            )
        await self._send(frames.done("post_message", session_id, message_id=call_id))

    async def _get_messages(self, frame: Frame) -> None:
        await self._send(await messages_frame(self._runtime, await self._find(_session_id(frame))))

    async def _ping(self, frame: Frame) -> None:
        await self._send(frames.pong(_session_id(frame)))

    async def _disconnect(self, frame: Frame) -> None:
        session_id = _session_id(frame)
        followed = self._sessions.pop(session_id, None)
        if followed is not None:
            _leave(followed)
        await self._send(frames.done("disconnect_session", session_id))

    async def _terminate(self, frame: Frame) -> None:
        """Nobody waits for the answer, and a session that is gone already is as it should be."""
        session_id = _session_id(frame)
        followed = self._sessions.get(session_id)
        try:
            self._runtime.authenticator.check(self._principal)
            check_operation(self._principal, "vectorshift", "terminate_session")
            # Of a session that is followed no await comes before the stop.
            session_log = followed.session_log if followed is not None else await self._find(session_id)
            if session_log.over is not SessionStatus.TERMINATED:
                await self._runtime.terminations.terminate(session_log)
        except HectorError as error:
            log.info("a session was not terminated: %s", error.reason)
        await self._send(frames.done("terminate_session", session_id))

    # -- sessions -------------------------------------------------------------------------------

    async def _find(self, session_id: str) -> SessionLog:
        """A session of this client, whatever its agent.

        Raises:
            NotFound (`session_not_found`), SessionOver (`session_terminated`), Unavailable.
        """
        agent = await self._runtime.sessions.agent_of(session_id)
        try:
            self._runtime.roster.get(agent, self._principal)
        except NotFound:  # said of the agent, that would tell strangers that there is a session
            raise session_not_found(session_id) from None
        return await self._runtime.sessions.get(self._principal, agent, session_id)

    async def _follow(self, session_log: SessionLog, *, pause: float = 0.0) -> None:
        """Have this socket sent what happens in the session, from the start of its open turn or from now on.

        `pause`: seconds before the first of it.
        """
        session = session_log.session
        if session.session_id in self._sessions or not self._is_open:
            return
        most = self._runtime.config.server.max_followed
        if len(self._sessions) >= most:
            raise InvalidRequest(f"A socket follows at most {most} sessions (server.max_followed); open another one.")
        attached = await self._runtime.conversation.attach(self._principal, session.agent, session.session_id)
        if attached is None:
            self._sessions[session.session_id] = _Followed(session_log, None)
            return
        attached.reading.__enter__()  # at once: from here on the session has a reader
        followed = self._sessions[session.session_id] = _Followed(session_log, attached.reading)
        self._tasks.start(self._stream(followed, attached, pause), name=f"VectorShift reader of {session.session_id}")

    async def _stream(self, followed: _Followed, attached: Attached, pause: float) -> None:
        agent = self._runtime.roster.find(followed.session_log.session.agent)
        shows_tools = agent is not None and agent.config.reasoning.show_tool_execution
        follower = Follower(self._runtime, attached, self._send, shows_tools=shows_tools)
        try:
            await asyncio.sleep(pause)
            code = await follower.run()
        finally:
            attached.reading.__exit__(None, None, None)
        if code is not None:
            followed.reading = None
            await self._close_if_quiet(code)

    async def _watch_stop(self) -> None:
        """At shutdown a socket that follows nothing is closed here; the others are when their readers were told."""
        await asyncio.wait([self._runtime.stop_signal])
        await self._close_if_quiet(LATER)

    async def _close_if_quiet(self, code: int) -> None:
        """Close the socket unless one of its sessions has more to tell."""
        if all(followed.reading is None for followed in self._sessions.values()):
            await self._close(code)

    async def _close(self, code: int) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            await self._websocket.close(code)
        except (WebSocketDisconnect, RuntimeError, OSError):
            log.debug("a client was gone before its socket was closed")


def _leave(followed: _Followed) -> None:
    if followed.reading is not None:
        leave(followed.reading)


def _parse(received: Any) -> Frame:
    text = received.get("text")
    try:
        frame = read_json(text.encode() if text is not None else received.get("bytes") or b"")
    except InvalidRequest as error:
        raise InvalidRequest(f"A frame must be a JSON object with a type. {error.message}") from None
    if not isinstance(frame.get("type"), str):
        raise InvalidRequest("A frame must be a JSON object with a type.")
    return frame


def _session_id(frame: Frame) -> str:
    session_id = frame.get("session_id")
    return session_id[:200] if isinstance(session_id, str) else ""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise InvalidRequest("content: the text is blank; send words.")
    return text
