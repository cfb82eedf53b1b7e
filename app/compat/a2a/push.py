"""Push notifications: a client's addresses that are told when the state of a task changes.

They are rows of the task's session, so they outlive a restart. The server that owns the session tells them
(turns/push_configs.py); `resume` follows the tasks whose end was not told by a process before, or by another server
that died. Delivery is tried a few times, in order for each address, and a question or the end of a task may be told
twice where a server died in between. Private addresses are refused unless the configuration allows them, and a
connection goes to the addresses that were checked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

import aiohttp
import orjson
from a2a.types import StreamResponse, TaskPushNotificationConfig, TaskState, TaskStatusUpdateEvent
from a2a.utils.errors import (
    A2AError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse

from app.compat.a2a.service import Caller, Followed, Service
from app.compat.a2a.tasks import FINAL_STATES
from app.config.compat import A2AConfig
from app.conversation.stream import Silence
from app.domain.errors import HectorError
from app.domain.principal import ANONYMOUS, Principal
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.tools.addresses import PrivatePlaces, Resolve, checked_addresses, read_url, system_resolver
from app.tools.base import ToolFailed
from app.tools.http_exchange import Exchange
from app.tools.threads import Threads

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0)
"""Seconds before the second and third try."""
_LONGEST = 4_096
"""Characters of an address, a token or credentials."""


class Push:
    """One for the process."""

    def __init__(self, service: Service, config: A2AConfig, *, resolve: Resolve | None = None) -> None:
        self._service = service
        self._config = config
        self._private = PrivatePlaces(config.push_private)
        self._resolve = resolve or system_resolver(Threads())
        self._addresses = service.runtime.house.push_configs
        self._following: dict[str, asyncio.Task[None]] = {}
        """By the ids of the tasks that are followed."""
        self._tasks = Tasks()

    # -- the addresses of a task ----------------------------------------------------------------

    async def check(self, config: TaskPushNotificationConfig) -> None:
        """Raises PushNotificationNotSupportedError, or InvalidParamsError: nothing is sent to this address."""
        self._require()
        longest = max(len(config.url), len(config.token), len(config.authentication.credentials))
        if longest > _LONGEST or len(config.id) > 200:
            raise InvalidParamsError("The push notification config is too long.")
        try:
            for name, value in _headers(config).items():
                if not value.isprintable() or not value.isascii():
                    raise InvalidParamsError(f"The push notification config makes no valid header {name}.")
            target = read_url(config.url)
            try:
                await self._resolve(target.host, target.port)
            except OSError:
                return  # not known now; each delivery looks again
            await checked_addresses(target, resolve=self._resolve, private=self._private)
        except ToolFailed as error:
            raise InvalidParamsError(f"Notifications cannot be sent there: {error}") from error

    async def add(
        self, caller: Caller, config: TaskPushNotificationConfig, *, is_new: bool = False
    ) -> TaskPushNotificationConfig:
        """Tell an address of the changes of a task from now on; one with the same id takes its place.

        `is_new`: the task was begun by the same request, so its end is told even if it is over already.

        Raises: what `check` and `Service.locate` raise; InvalidParamsError: the task has too many.
        """
        self._require()
        session_log, turn = await self._service.locate(caller, config.task_id)
        await self.check(config)
        stored = TaskPushNotificationConfig()
        stored.CopyFrom(config)
        stored.id = stored.id or config.task_id
        most = self._config.max_push
        is_stored = await self._addresses.add(
            session_log,
            config.task_id,
            stored.id,
            config=MessageToJson(stored, indent=None),
            is_followed=is_new or not turn.state.is_final,
            most=most,
        )
        if not is_stored:
            raise InvalidParamsError(f"The task has {most} push notification configs, the most (compat.a2a.max_push).")
        return stored

    async def list(self, caller: Caller, task_id: str) -> list[TaskPushNotificationConfig]:
        self._require()
        session_log, _ = await self._service.locate(caller, task_id)
        return list(await self._stored(session_log, task_id))

    async def get(self, caller: Caller, task_id: str, config_id: str) -> TaskPushNotificationConfig:
        """Raises TaskNotFoundError: the task has no such config."""
        for config in await self.list(caller, task_id):
            if config.id == config_id:
                return config
        raise TaskNotFoundError(f"The task has no push notification config {config_id[:200]!r}.")

    async def delete(self, caller: Caller, task_id: str, config_id: str) -> None:
        """One that is not there is not an error."""
        self._require()
        session_log, _ = await self._service.locate(caller, task_id)
        await self._addresses.remove(session_log, task_id, config_id)

    async def _stored(self, session_log: SessionLog, task_id: str) -> Sequence[TaskPushNotificationConfig]:
        """The configs of a task, oldest first."""
        stored = await self._addresses.of_turn(session_log, task_id)
        return [Parse(config, TaskPushNotificationConfig()) for config in stored.values()]

    def _require(self) -> None:
        if not self._config.push:
            raise PushNotificationNotSupportedError("Push notifications are switched off (compat.a2a.push).")

    def stop(self) -> None:
        """The server stops: nothing more is sent."""
        for following in self._following.values():
            following.cancel()

    # -- telling --------------------------------------------------------------------------------

    async def resume(self) -> None:
        """Follow the tasks whose end is still to be told, and that nobody follows."""
        for session_id, task_id in await self._addresses.untold():
            if task_id in self._following:
                continue
            try:
                found = await self._addresses.open_ours(session_id)
            except HectorError as error:
                log.warning("notifications about %s are not sent yet: %s", task_id, error)
                continue
            if found is not None:
                self.follow(found, task_id)

    def follow(self, session_log: SessionLog, task_id: str) -> None:
        """Tell the addresses of a task in a session of ours what becomes of it, unless that is being done."""
        if task_id in self._following:
            return
        session = session_log.session
        kind: Literal["anonymous", "key"] = "anonymous" if session.principal == ANONYMOUS else "key"
        caller = Caller(Principal(session.principal, kind, session.user_id), session.agent)
        name = f"push {task_id}"
        following = self._following[task_id] = self._tasks.start(self._follow(caller, session_log, task_id), name=name)
        following.add_done_callback(lambda _: self._following.pop(task_id, None))

    async def _follow(self, caller: Caller, session_log: SessionLog, task_id: str) -> None:
        """Tell what becomes of a task until it is over. As a reader: the task goes on for whoever is told."""
        try:
            try:
                with await self._service.subscribe(caller, task_id, is_from_now=True) as followed:
                    await self._tell_changes(followed)
            except UnsupportedOperationError:  # it was over sooner than we looked
                pass
            task = await self._service.get(caller, task_id)
            await self._tell(session_log, task_id, StreamResponse(task=task))
            await self._addresses.mark_told(session_log, task_id)
        except (A2AError, HectorError) as error:  # its session was terminated, or the server stops
            log.debug("no more notifications about %s: %s", task_id, error)

    async def _tell_changes(self, followed: Followed) -> None:
        task_id = followed.turn.turn_id
        known = followed.first.status.state
        if known == TaskState.TASK_STATE_INPUT_REQUIRED:  # whoever followed before may not have told that
            status = TaskStatusUpdateEvent(
                task_id=task_id, context_id=followed.first.context_id, status=followed.first.status
            )
            await self._tell(followed.session_log, task_id, StreamResponse(status_update=status))
        async for part in self._service.updates(followed):
            if isinstance(part, Silence):
                continue
            for update in part:
                if not isinstance(update, TaskStatusUpdateEvent) or update.status.state == known:
                    continue
                known = update.status.state
                if known not in FINAL_STATES:  # the end is told with the whole task
                    await self._tell(followed.session_log, task_id, StreamResponse(status_update=update))

    async def _tell(self, session_log: SessionLog, task_id: str, told: StreamResponse) -> None:
        body = orjson.dumps(MessageToDict(told))
        configs = await self._stored(session_log, task_id)
        await asyncio.gather(*[self._deliver(config, body) for config in configs])

    async def _deliver(self, config: TaskPushNotificationConfig, body: bytes) -> None:
        problem = ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(self._config.push_timeout.total_seconds()):
                    status = await self._post(config, body)
            except (ToolFailed, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                problem = str(error) or type(error).__name__
                continue
            if status < 300:
                return
            problem = f"HTTP {status}"
            if status < 500 and status != 429:
                break
        log.warning("a notification about %s was not delivered: %s", config.task_id, problem)

    async def _post(self, config: TaskPushNotificationConfig, body: bytes) -> int:
        target = read_url(config.url)
        addresses = await checked_addresses(target, resolve=self._resolve, private=self._private)
        exchange = Exchange("POST", target, addresses, headers=_headers(config), body=body)
        answer = await exchange.carry_out(max_bytes=1_024, tls=True)
        return answer.status


def _headers(config: TaskPushNotificationConfig) -> Mapping[str, str]:
    """As the SDK sends them: the token as a header of its own, credentials after their scheme."""
    headers = {"Content-Type": "application/a2a+json", "User-Agent": "hector"}
    if config.token:
        headers["X-A2A-Notification-Token"] = config.token
    if config.authentication.scheme and config.authentication.credentials:
        headers["Authorization"] = f"{config.authentication.scheme} {config.authentication.credentials}"
    return headers
