"""Handler: our service behind the interface of the SDK, whose dispatchers speak its wires and version 0.3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import UnsupportedOperationError
from a2a.utils.task import validate_history_length

from app.compat.a2a.errors import translated, translated_stream
from app.compat.a2a.events import Text, Update, update_of
from app.compat.a2a.lists import length_of
from app.compat.a2a.push import Push
from app.compat.a2a.service import Caller, Followed, Service
from app.compat.a2a.tasks import read_task
from app.conversation.stream import Silence
from app.doors.scopes import check_operation

CALLER = "hector_caller"
"""Where the state of a call context has its `Caller`."""


class Handler(RequestHandler):
    """One for all agents; the context of a call says which one is asked, and by whom."""

    def __init__(self, service: Service, push: Push) -> None:
        self.service = self._service = service
        self.push = self._push = push

    # -- sending --------------------------------------------------------------------------------

    @validate_request_params
    @translated
    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task | Message:
        with await self._open(params, context) as followed:
            caller = caller_of(context, "send")
            told = None if params.configuration.return_immediately else await self._service.wait(caller, followed)
            turn = await self._service.runtime.history.find(followed.session_log, followed.turn.turn_id)
            length = length_of(params.configuration)
            task = await read_task(self._service.runtime, followed.session_log, turn, history_length=length)
            if told is not None:  # readers may be told that it waits a moment before it does
                task.status.CopyFrom(told)
            return task

    @validate_request_params
    @translated_stream
    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Update]:
        with await _uncut(self._open(params, context)) as followed:
            async for update in self._updates(followed):
                yield update

    @validate_request_params
    @translated_stream
    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Update]:
        with await self._service.subscribe(caller_of(context, "subscribe"), params.id) as followed:
            async for update in self._updates(followed):
                yield update

    @validate_request_params
    @translated
    async def follow_new(self, params: SendMessageRequest, context: ServerCallContext) -> Followed:
        """What `on_message_send_stream` follows, for a wire of our own."""
        return await self._open(params, context)

    @validate_request_params
    @translated
    async def follow_known(self, params: SubscribeToTaskRequest, context: ServerCallContext) -> Followed:
        """What `on_subscribe_to_task` follows, for a wire of our own."""
        return await self._service.subscribe(caller_of(context, "subscribe"), params.id)

    async def _updates(self, followed: Followed) -> AsyncGenerator[Update]:
        yield followed.first
        task_id, context_id = followed.first.id, followed.first.context_id
        async for part in self._service.updates(followed):
            if not isinstance(part, Silence):
                for one in part:
                    yield update_of(one, task_id, context_id) if isinstance(one, Text) else one

    # -- tasks ----------------------------------------------------------------------------------

    @validate_request_params
    @translated
    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task | None:
        validate_history_length(params)
        return await self._service.get(caller_of(context, "get"), params.id, history_length=length_of(params))

    @validate_request_params
    @translated
    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        return await self._service.list(caller_of(context, "list"), params)

    @validate_request_params
    @translated
    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        return await self._service.cancel(caller_of(context, "cancel"), params.id)

    @validate_request_params
    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        raise UnsupportedOperationError("There is no other card than the public one.")

    # -- push notifications ---------------------------------------------------------------------

    async def _open(self, params: SendMessageRequest, context: ServerCallContext) -> Followed:
        """Begin or continue a task, and tell the address that the request names of it."""
        caller = caller_of(context, "send")
        if not params.configuration.HasField("task_push_notification_config"):
            return await self._service.send(caller, params)
        named = TaskPushNotificationConfig()
        named.CopyFrom(params.configuration.task_push_notification_config)
        await self._push.check(named)
        followed = await self._service.send(caller, params)
        try:
            named.task_id = followed.turn.turn_id
            await self._push.add(caller, named, is_new=True)
        except BaseException:
            followed.reading.__exit__(None, None, None)
            raise
        return followed

    @validate_request_params
    @translated
    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        return await self._push.add(caller_of(context, "add push"), params)

    @validate_request_params
    @translated
    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        return await self._push.get(caller_of(context, "get push"), params.task_id, params.id)

    @validate_request_params
    @translated
    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        configs = await self._push.list(caller_of(context, "list push"), params.task_id)
        return ListTaskPushNotificationConfigsResponse(configs=configs)

    @validate_request_params
    @translated
    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        await self._push.delete(caller_of(context, "delete push"), params.task_id, params.id)


async def _uncut(opening: Coroutine[Any, Any, Followed]) -> Followed:
    """gRPC cancels a stream whose client has left; a message that is being accepted must not stop half-way."""
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_leave)
        raise


def _leave(task: asyncio.Task[Followed]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().reading.__exit__(None, None, None)


def caller_of(context: ServerCallContext, operation: str) -> Caller:
    """Whoever asks for the operation. Raises Forbidden (`missing_scope`)."""
    caller: Caller = context.state[CALLER]
    check_operation(caller.principal, "a2a", operation)
    return caller
