"""Service: the operations of A2A on sessions and turns, whatever the wire: start, follow, find, list, cancel."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import orjson
from a2a.types import (
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    Task,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from a2a.utils.errors import (
    InternalError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from a2a.utils.task import validate_history_length, validate_page_size

from app.agents import Agent
from app.compat.a2a.answers import give_answers
from app.compat.a2a.events import TaskEvents, Text, Update
from app.compat.a2a.lists import PAGE, before_of, filter_of, length_of, token_of
from app.compat.a2a.parts import text_of
from app.compat.a2a.tasks import open_acts, read_task
from app.conversation.conversation import Sending
from app.conversation.stream import Silence, leave
from app.conversation.view import View, view_of
from app.domain.errors import NotFound, overloaded
from app.domain.principal import Principal
from app.domain.turn import Turn, TurnState
from app.doors.paced_stream import paced_stream
from app.doors.pacing import Piece
from app.doors.scopes import check_operation
from app.events.follow import Reading
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks which agent. `leaving`: done when the client has gone; `None`: the wire cancels the request then."""

    principal: Principal
    agent: str
    leaving: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """A task and a reading of it, entered already: the end of a `with` block leaves it.

    `first`: the task as the stream begins with it.
    """

    session_log: SessionLog
    turn: OpenTurn | Turn
    reading: Reading
    view: View
    first: Task
    ends_when_waiting: bool
    """Whether its stream ends when the task waits for its client."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reading.__exit__(kind, error, trace)


class Service:
    """One for the process."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    # -- sending --------------------------------------------------------------------------------

    async def send(self, caller: Caller, params: SendMessageRequest) -> Followed:
        """Begin a task, or say something to one: the answer to a question, or a word to a turn that runs.

        The client counts as a reader until it leaves what this returns.

        Raises:
            A2AError, HectorError: nothing was stored.
        """
        validate_history_length(params.configuration)
        if not await self.runtime.lag.may_begin():
            raise overloaded("The server has more to do than it can do in time (server.max_lag)")
        if params.message.task_id:
            return await self._continue(caller, params)
        return await self._begin(caller, params)

    async def _begin(self, caller: Caller, params: SendMessageRequest) -> Followed:
        text = text_of(params.message)
        runtime = self.runtime
        agent = runtime.roster.get(caller.agent, caller.principal)
        runtime.conversation.check_length(text)
        session_id = params.message.context_id or None
        sending = Sending(text, background=_is_background(params), key=key_of(params) if session_id else None)
        session_log, _ = await runtime.sessions.create(caller.principal, agent.name, session_id=session_id)
        return await self._say(caller, session_log, sending, params)

    async def _say(
        self, caller: Caller, session_log: SessionLog, sending: Sending, params: SendMessageRequest
    ) -> Followed:
        following = await self.runtime.conversation.send(caller.principal, caller.agent, session_log, sending)
        reading = following.reading
        following.__enter__()  # before the turn begins, or its grace would
        try:
            turn = following.running(await following.start())
            followed = await self._followed(session_log, turn, reading, following.agent, params)
        except BaseException:
            following.__exit__(None, None, None)
            raise
        return followed

    async def _continue(self, caller: Caller, params: SendMessageRequest) -> Followed:
        session_log, turn = await self.locate(caller, params.message.task_id)
        if params.message.context_id not in ("", session_log.session.session_id):
            raise InvalidParamsError("The task belongs to another contextId.")
        if turn.state.is_final:
            raise UnsupportedOperationError("The task is over; send a message without taskId to begin another one.")
        waiting = await open_acts(self.runtime, session_log, turn.turn_id)
        if not waiting:
            background, key = _is_background(params), key_of(params)
            sending = Sending(text_of(params.message), on_busy="steer", background=background, key=key)
            return await self._say(caller, session_log, sending, params)
        check_operation(caller.principal, "session", "answer_call")
        runtime = self.runtime
        agent = runtime.roster.get(caller.agent, caller.principal)
        reading = runtime.conversation.read(session_log, agent, after=session_log.visible_seq)
        reading.__enter__()
        try:
            await runtime.conversation.count(reading)
            by = caller.principal.effective_user
            await give_answers(runtime, session_log, waiting, params.message, by=by)
            followed = await self._followed(session_log, turn, reading, agent, params)
        except BaseException:
            reading.__exit__(None, None, None)
            raise
        return followed

    async def _followed(
        self, session_log: SessionLog, turn: OpenTurn | Turn, reading: Reading, agent: Agent, params: SendMessageRequest
    ) -> Followed:
        length, is_over = length_of(params.configuration), isinstance(turn, Turn)
        first = await read_task(self.runtime, session_log, turn, history_length=length, with_artifact=is_over)
        return Followed(session_log, turn, reading, _view(agent, turn), first, ends_when_waiting=True)

    # -- following ------------------------------------------------------------------------------

    async def subscribe(self, caller: Caller, task_id: str, *, is_from_now: bool = False) -> Followed:
        """Follow an open task from its beginning: all who do are told the same updates in the same order.

        `is_from_now`: leave out what came before this call. Its first state may be that of an update which follows.

        Raises:
            UnsupportedOperationError: it is over.
        """
        session_log, turn = await self.locate(caller, task_id)
        if not isinstance(turn, OpenTurn) or turn.state.is_final:
            raise UnsupportedOperationError(f"The task {task_id!r} is over; get it instead.")
        runtime = self.runtime
        agent = runtime.roster.get(caller.agent, caller.principal)
        after = turn.after if turn.state is TurnState.QUEUED else turn.started_seq - 1
        if is_from_now:
            after = session_log.visible_seq
        reading = runtime.conversation.read(session_log, agent, after=after)
        reading.__enter__()
        try:
            await runtime.conversation.count(reading)
            first = await read_task(runtime, session_log, turn, with_artifact=False)
        except BaseException:
            reading.__exit__(None, None, None)
            raise
        return Followed(session_log, turn, reading, _view(agent, turn), first, ends_when_waiting=False)

    async def updates(self, followed: Followed) -> AsyncGenerator[list[Text | Update] | Silence]:
        """What becomes of a task, after its first state: all that is ready together, each update once.

        Nothing of a task that was over when its message was repeated: its first state has all of it.

        Raises:
            InternalError (`shutting_down`): the server stops; the task goes on, or ends as its stop says.
        """
        if isinstance(followed.turn, Turn):
            return
        events = TaskEvents(followed.session_log, followed.turn.turn_id)
        async with aclosing(paced_stream(self.runtime.conversation, followed.reading, followed.view)) as parts:
            async for part in parts:
                if isinstance(part, str):
                    sentence = "The server is stopping; get the task, or subscribe to it, in a moment."
                    raise InternalError(sentence, data={"reason": "shutting_down"})
                if isinstance(part, Silence):
                    yield part
                elif found := [events.of_piece(part)] if isinstance(part, Piece) else await events.of(part):
                    yield found
                if events.is_over or (events.is_waiting and followed.ends_when_waiting):
                    return

    async def wait(self, caller: Caller, followed: Followed) -> TaskStatus | None:
        """Return when the task is over, or waits for its client, or the client has left; the last status told."""
        told = None
        watcher = asyncio.ensure_future(_watch(caller, followed.reading)) if caller.leaving is not None else None
        try:
            async for part in self.updates(followed):
                for update in part if not isinstance(part, Silence) else ():
                    if isinstance(update, TaskStatusUpdateEvent):
                        told = update.status
        finally:
            if watcher is not None:
                watcher.cancel()
        return told

    # -- finding --------------------------------------------------------------------------------

    async def locate(self, caller: Caller, task_id: str) -> tuple[SessionLog, OpenTurn | Turn]:
        """A task of the caller's with this agent. Raises TaskNotFoundError, for somebody else's with the same words."""
        house = self.runtime.house
        session_id = await house.turn_index.session_of(task_id) if task_id else None
        if session_id is None:
            raise _not_found(task_id)
        agent = self.runtime.roster.get(caller.agent, caller.principal)
        try:
            session_log = await self.runtime.sessions.get(caller.principal, agent.name, session_id)
            return session_log, await house.history.find(session_log, task_id)
        except NotFound:
            raise _not_found(task_id) from None

    async def get(self, caller: Caller, task_id: str, *, history_length: int | None = None) -> Task:
        session_log, turn = await self.locate(caller, task_id)
        return await read_task(self.runtime, session_log, turn, history_length=history_length)

    async def cancel(self, caller: Caller, task_id: str) -> Task:
        """Raises TaskNotCancelableError: it is over."""
        session_log, turn = await self.locate(caller, task_id)
        if turn.state.is_final or await self.runtime.stopping.cancel(session_log, turn_id=task_id) is None:
            raise TaskNotCancelableError(f"The task {task_id!r} is over.")
        return await self.get(caller, task_id)

    async def list(self, caller: Caller, params: ListTasksRequest) -> ListTasksResponse:
        """The caller's tasks with the agent, the last changed first."""
        validate_history_length(params)
        if params.HasField("page_size"):
            validate_page_size(params.page_size)
        size = params.page_size or PAGE
        agent = self.runtime.roster.get(caller.agent, caller.principal)
        wanted = filter_of(params, caller.principal, agent.name)
        page, total = await self.runtime.house.turn_index.page(wanted, before=before_of(params), limit=size + 1)
        last = page[size - 1] if len(page) > size else None
        token = token_of(last) if last is not None else ""
        found = ListTasksResponse(next_page_token=token, page_size=size, total_size=total)
        for turn in page[:size]:
            session_log = await self.runtime.live.open(turn.session_id)
            if session_log is not None:  # else its session was terminated meanwhile
                found.tasks.append(
                    await read_task(
                        self.runtime,
                        session_log,
                        turn,
                        history_length=length_of(params),
                        with_artifact=params.include_artifacts,
                    )
                )
        return found


async def _watch(caller: Caller, reading: Reading) -> None:
    assert caller.leaving is not None
    await caller.leaving()
    leave(reading)


def _view(agent: Agent, turn: OpenTurn | Turn) -> View:
    return view_of(agent.config, turn_id=turn.turn_id, until_caught_up=isinstance(turn, Turn))


def _is_background(params: SendMessageRequest) -> bool:
    """Whether the task goes on without a reader: the client asked to be answered at once, or to be told elsewhere."""
    configuration = params.configuration
    return configuration.return_immediately or configuration.HasField("task_push_notification_config")


def key_of(params: SendMessageRequest) -> str:
    """The idempotency key of a message in its context: a client that repeats it after a cut means the same turn.

    The content is part of it: clients that use one id for all they send, as the suite of A2A does, send other messages.
    """
    message = params.message
    said = [message.message_id, message.task_id, text_of(message), str(_is_background(params))]
    return "a2a:" + hashlib.sha256(orjson.dumps(said)).hexdigest()


def _not_found(task_id: str) -> TaskNotFoundError:
    return TaskNotFoundError(f"There is no task {task_id[:200]!r} here.")
