"""Lists of tasks: what a ListTasks request asks for, in words of the turns table."""

from __future__ import annotations

from typing import Protocol

from a2a.types import ListTasksRequest, TaskState
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import ListTasksCursor, decode_list_tasks_cursor, encode_list_tasks_cursor

from app.compat.a2a.tasks import STATES
from app.domain.principal import Principal
from app.domain.turn import Turn
from app.storage.turn_lists import TurnFilter, changed_ms

PAGE = 50
"""Tasks of a page, unless the request says another number."""


class _HasLength(Protocol):
    history_length: int

    def HasField(self, name: str, /) -> bool: ...


def length_of(given: _HasLength) -> int | None:
    """`history_length`, where it was given."""
    return given.history_length if given.HasField("history_length") else None


def filter_of(params: ListTasksRequest, principal: Principal, agent: str) -> TurnFilter:
    return TurnFilter(
        principal.id,
        agent,
        user_id=principal.user_id,
        session_id=params.context_id or None,
        states=_states(params.status),
        changed_from_ms=_milliseconds(params),
    )


def token_of(last: Turn) -> str:
    """The page token behind a task."""
    return encode_list_tasks_cursor(ListTasksCursor(changed_ms(last) * 1_000_000, last.turn_id))


def before_of(params: ListTasksRequest) -> tuple[int, str] | None:
    if not params.page_token:
        return None
    cursor = decode_list_tasks_cursor(params.page_token)
    if cursor is None or cursor.timestamp_ns is None or "\0" in cursor.task_id:
        raise InvalidParamsError("pageToken is not one that this list gave out.")
    return min(cursor.timestamp_ns // 1_000_000, 2**62), cursor.task_id


def _states(status: TaskState) -> tuple[str, ...]:
    if status == TaskState.TASK_STATE_UNSPECIFIED:
        return ()
    return tuple([state.value for state, told in STATES.items() if told == status]) or ("",)


def _milliseconds(params: ListTasksRequest) -> int | None:
    if not params.HasField("status_timestamp_after"):
        return None
    return -(-params.status_timestamp_after.ToNanoseconds() // 1_000_000)
