"""Tasks: a turn, open or stored, as an A2A task. Everything in it is read from the turn's rows and its log."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from a2a.types import Artifact, Message, Role, Task, TaskState, TaskStatus

from app.compat.a2a.parts import agent_message, moment, struct, text_part
from app.compat.a2a.questions import message_of, question_of_act
from app.domain.act import Act, ActState
from app.domain.message import Message as Stored
from app.domain.turn import Failure, Turn, TurnState
from app.events.log import SessionLog
from app.runtime import Runtime
from app.storage import messages
from app.storage.turn_lists import changed_ms
from app.turns.open_turn import OpenTurn

ARTIFACT = "answer"
"""The id of a task's one artifact: all that its turn says."""

STATES: dict[TurnState, TaskState] = {
    TurnState.QUEUED: TaskState.TASK_STATE_SUBMITTED,
    TurnState.RUNNING: TaskState.TASK_STATE_WORKING,
    TurnState.WAITING: TaskState.TASK_STATE_INPUT_REQUIRED,
    TurnState.COMPLETED: TaskState.TASK_STATE_COMPLETED,
    TurnState.FAILED: TaskState.TASK_STATE_FAILED,
    TurnState.CANCELLED: TaskState.TASK_STATE_CANCELED,
    TurnState.INTERRUPTED: TaskState.TASK_STATE_FAILED,
}
FINAL_STATES = frozenset({told for state, told in STATES.items() if state.is_final})


def state_of(turn: OpenTurn | Turn) -> TurnState:
    """The state that clients are told: a turn waits also where an agent that it called waits for a person."""
    return TurnState.WAITING if isinstance(turn, OpenTurn) and turn.is_waiting else turn.state


async def read_task(
    runtime: Runtime,
    session_log: SessionLog,
    turn: OpenTurn | Turn,
    *,
    history_length: int | None = None,
    with_artifact: bool = True,
) -> Task:
    """The task of a turn as it is now. `history_length`: newest messages of its history; `None`: all.

    The answer is the artifact; the history has what the user said. Raises Unavailable.
    """
    session_id = session_log.session.session_id
    task = Task(id=turn.turn_id, context_id=session_id, status=await _status(runtime, session_log, turn))
    if with_artifact and (text := await read_text(session_log, turn)):
        task.artifacts.append(Artifact(artifact_id=ARTIFACT, parts=[text_part(text)]))
    if history_length is None or history_length > 0:
        task.history.extend(await _history(session_log, turn))
    if isinstance(turn, Turn) and (found := _metadata(turn)):
        task.metadata.CopyFrom(struct(found))
    return task


async def read_text(session_log: SessionLog, turn: OpenTurn | Turn) -> str:
    """All that a turn has said so far: the messages of its steps, and the one that is being said."""
    query = partial(messages.of_turn, session_id=session_log.session.session_id, turn_id=turn.turn_id)
    while True:
        saying, text = turn.message_id, ""
        if isinstance(turn, OpenTurn) and turn.state is TurnState.RUNNING:
            text = session_log.visible_text()
        rows = await session_log.database.read(query)
        if turn.message_id == saying:  # else a step ended meanwhile, and its text is in both or in neither
            return (
                "".join([row.content for row in rows if _is_said(row) and (not text or row.message_id != saying)])
                + text
            )


def _is_said(row: Stored) -> bool:
    return row.role == "assistant"


async def _status(runtime: Runtime, session_log: SessionLog, turn: OpenTurn | Turn) -> TaskStatus:
    state = state_of(turn)
    acts = await open_acts(runtime, session_log, turn.turn_id) if state is TurnState.WAITING else []
    if state is TurnState.WAITING and not acts:  # all are answered, and it is about to go on
        state = TurnState.RUNNING
    since = changed_ms(turn) if isinstance(turn, Turn) else turn.started_ms or turn.created_ms
    status = TaskStatus(state=STATES[state], timestamp=moment(since))
    task_id, context_id = turn.turn_id, session_log.session.session_id
    if state is TurnState.WAITING:
        questions = [question_of_act(act) for act in acts]
        status.message.CopyFrom(message_of(questions, task_id=task_id, context_id=context_id))
    elif isinstance(turn, Turn) and (sentence := why_ended(turn.state, turn.reason, turn.failure)):
        said = agent_message(f"{task_id}.end", [text_part(sentence)], task_id=task_id, context_id=context_id)
        status.message.CopyFrom(said)
    return status


def why_ended(state: TurnState, reason: str | None, failure: Failure | None) -> str | None:
    """A sentence about an end that is no completion."""
    if failure is not None:
        return failure.message
    if state is TurnState.INTERRUPTED:
        return "The server stopped while this task ran; its text so far is kept."
    if state is TurnState.CANCELLED:
        return "The task was cancelled." if reason in (None, "cancelled") else f"The task was cancelled ({reason})."
    return None


async def open_acts(runtime: Runtime, session_log: SessionLog, turn_id: str) -> list[Act]:
    """What a turn waits for, also in the sessions of agents that it called."""
    session_id = session_log.session.session_id
    found = await runtime.house.decisions.page(
        session_log, states=[ActState.WAITING, ActState.UNKNOWN], with_children=True, limit=200
    )
    return [
        act
        for act in found
        if (act.turn_id == turn_id if act.session_id == session_id else act.state is ActState.WAITING)
    ]


async def _history(session_log: SessionLog, turn: OpenTurn | Turn) -> list[Message]:
    text = turn.text
    session_id = session_log.session.session_id
    if not text:
        query = partial(messages.find, session_id=session_id, message_id=turn.user_message_id)
        asked = await session_log.database.read(query)
        text = asked.content if asked is not None else ""
    return [user_message(turn.turn_id, turn.user_message_id, text, context_id=session_id)]


def user_message(task_id: str, message_id: str, text: str, *, context_id: str) -> Message:
    return Message(
        message_id=message_id, role=Role.ROLE_USER, parts=[text_part(text)], task_id=task_id, context_id=context_id
    )


def _metadata(turn: Turn) -> dict[str, object]:
    usage, timings = turn.usage, turn.timings
    return metadata_of(
        {
            "usage": usage.to_json() if usage is not None else None,
            "timings": timings.to_json() if timings is not None else None,
            "reason": turn.reason,
            "finish_reason": turn.finish_reason,
        }
    )


def metadata_of(end: Mapping[str, Any]) -> dict[str, object]:
    """What is told of a turn's end beside its state, with names as A2A writes them (`finishReason`)."""
    told = {name: end.get(name) for name in ("usage", "timings", "reason", "finish_reason")}
    return {_camel(name): _named(value) for name, value in told.items() if value is not None}


def _named(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return {_camel(name): one for name, one in value.items() if one is not None}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join([word.capitalize() for word in others])
