"""ChatTurn: what doors of chat front ends do with a posted conversation, whatever its form.

Such a front end keeps the conversation itself and posts all of it with each message. The session has the conversation
here, so the last message of the user is new, and the rest is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel
from starlette.types import Receive, Scope

from app.conversation.conversation import Sending
from app.conversation.view import View, view_of
from app.domain.errors import Conflict, InvalidRequest, overloaded
from app.domain.principal import Principal
from app.doors.json_route import parse, read_body, read_json, take_user
from app.doors.open_calls import CallAnswer, answer_call, open_calls
from app.events.follow import Reading
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

Body = TypeVar("Body", bound=BaseModel)


class CallsOpen(Conflict):
    """A new message came while calls of the open turn wait for an answer."""

    reason = "session_busy"


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A turn to stream to one reader; `reading` is entered."""

    turn_id: str
    reading: Reading
    view: View


async def read_posted(runtime: Runtime, scope: Scope, receive: Receive, model: type[Body]) -> Body:
    """The body of a request to an agent of the path. Raises anything of the error table; nothing was stored."""
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    runtime.roster.get(scope["path_params"]["agent"], scope["principal"])
    given = await read_body(scope, receive, runtime.config.server.max_body)
    if b'"user_id"' in given:
        take_user(scope, read_json(given))
    return parse(given, model)


async def open_session(runtime: Runtime, caller: Principal, agent: str, session_id: str) -> SessionLog:
    """The caller's session with this id, made now if there is none.

    Raises: InvalidRequest (the id), Conflict (`session_exists`, somebody else's), SessionOver (terminated).
    """
    session_log, _ = await runtime.sessions.create(caller, agent, session_id=session_id)
    return session_log


async def send(
    runtime: Runtime, caller: Principal, agent: str, session_log: SessionLog, sending: Sending, stack: ExitStack
) -> ChatTurn:
    """Send a message; its turn begins, is queued, or was begun by the same key before.

    Raises:
        CallsOpen: the open turn waits for somebody; nothing was stored.
        InvalidRequest, TooLarge, SessionOver, Unavailable: nothing was stored.
    """
    following = await runtime.conversation.send(caller, agent, session_log, sending)
    stack.enter_context(following)
    if (waiting := runtime.conversation.open_turn(session_log)) is not None and waiting.is_waiting:
        await _refuse_unless_known(runtime, caller, agent, session_log, sending)
    turn = await following.start()
    return ChatTurn(turn.turn_id, following.reading, following.view(turn))


async def regenerate(
    runtime: Runtime, caller: Principal, agent: str, session_log: SessionLog, text: str, stack: ExitStack
) -> ChatTurn:
    """Answer the last message of the user, which is `text`, anew.

    Raises:
        InvalidRequest: the last message of the session is another one: only the last answer can be regenerated.
        CallsOpen, SessionOver, Unavailable: nothing was stored.
    """
    if (waiting := runtime.conversation.open_turn(session_log)) is not None and waiting.is_waiting:
        raise _calls_open()
    following = await runtime.conversation.send(caller, agent, session_log, Sending(None))
    stack.enter_context(following)
    if following.ask is None or following.ask.text != text:
        raise InvalidRequest("Only the last answer can be regenerated; fork the session at an earlier message.")
    turn = await following.start()
    return ChatTurn(turn.turn_id, following.reading, following.view(turn))


async def answer_calls(
    runtime: Runtime,
    caller: Principal,
    agent: str,
    session_log: SessionLog,
    answers: Sequence[CallAnswer],
    stack: ExitStack,
    *,
    must_answer_all: bool,
) -> ChatTurn:
    """Answer calls that wait, and follow their turn from here on. Answers to other calls are ignored.

    Raises:
        Conflict (`already_decided`): nothing waits for these answers.
        InvalidRequest: an answer has the wrong form, or (`must_answer_all`) calls are left without one.
        NotFound, ApprovalExpired, Unavailable.
    """
    turn = runtime.conversation.open_turn(session_log)
    waiting = {act.call_id for act in await open_calls(runtime, session_log)}
    wanted = [answer for answer in answers if answer.call_id in waiting]
    if turn is None or not wanted:
        raise Conflict("Nothing waits for these answers any more.", reason="already_decided")
    missing = waiting - {answer.call_id for answer in answers}
    if must_answer_all and missing:
        raise InvalidRequest(f"These calls wait for an answer as well: {', '.join(sorted(missing))}.")
    config = runtime.roster.get(agent, caller)
    # Entered before the answers: a turn that goes on without a reader begins its grace at that moment.
    reading = stack.enter_context(runtime.conversation.read(session_log, config, after=session_log.visible_seq))
    await runtime.conversation.count(reading)
    for given in wanted:
        await answer_call(runtime, caller, session_log, given)
    return ChatTurn(turn.turn_id, reading, view_of(config.config, turn_id=turn.turn_id))


async def _refuse_unless_known(
    runtime: Runtime, caller: Principal, agent: str, session_log: SessionLog, sending: Sending
) -> None:
    """Raises CallsOpen, unless the key of this message has a turn already."""

    async def refuse() -> OpenTurn:
        raise _calls_open()

    key = sending.make_key()
    if key is None:
        await refuse()
    else:
        await runtime.house.admission.once(session_log, runtime.roster.get(agent, caller), key, refuse)


def _calls_open() -> CallsOpen:
    return CallsOpen("The turn of this session waits for an answer to its open calls; answer those first.")
