"""Events: what a turn does, as the updates of its task. Text stays as it came; the wire encodes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from a2a.types import Artifact, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent

from app.compat.a2a.parts import agent_message, data_part, moment, struct, text_part
from app.compat.a2a.questions import message_of, question_of_frames
from app.compat.a2a.tasks import ARTIFACT, STATES, metadata_of, why_ended
from app.domain.event import EventKind
from app.domain.turn import Failure, TurnState
from app.doors.pacing import Piece
from app.events.log import SessionLog
from app.events.run import Run
from app.llm.base import escape, unescape
from app.storage import messages


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the task's artifact. `escaped`: the inside of a JSON string."""

    escaped: bytes
    is_first: bool = False
    is_last: bool = False


Update = Task | TaskStatusUpdateEvent | TaskArtifactUpdateEvent


class TaskEvents:
    """Turns the runs of one turn, in order, into updates of its task.

    `is_over`: the task has ended. `is_waiting`: it waits for its client.
    """

    def __init__(self, session_log: SessionLog, turn_id: str) -> None:
        self.task_id = turn_id
        self.context_id = session_log.session.session_id
        self.is_over = False
        self.is_waiting = False
        self._session_log = session_log
        self._held: list[bytes] = []
        self._has_text = False
        self._failure: Failure | None = None
        self._approvals: dict[str, dict[str, Any]] = {}

    async def of(self, runs: Sequence[Run]) -> list[Text | Update]:
        """What the runs tell; text that stands together is one piece."""
        found: list[Text | Update] = []
        for run in runs:
            if run.kind is EventKind.TEXT:
                self._held.append(run.text)
                continue
            if self._held:
                found.append(self._text())
            if run.count == 0:
                found += await self._of_fact(run)
        if self._held:
            found.append(self._text())
        return found

    def of_piece(self, piece: Piece) -> Text | Update:
        """A piece of text, of the size that the agent's pace gives it."""
        self._held.append(escape(piece.text))
        return self._text()

    def _text(self) -> Text:
        text = Text(b"".join(self._held), is_first=not self._has_text)
        self._held.clear()
        self._has_text = True
        return text

    async def _of_fact(self, run: Run) -> list[Text | Update]:
        frame: dict[str, Any] = orjson.loads(run.payload)
        match run.kind:
            case EventKind.TURN_STARTED | EventKind.RESUMED:
                self.is_waiting = False
                return [self._status(run, TaskState.TASK_STATE_WORKING)]
            case EventKind.TOOL_CALL | EventKind.TOOL_RESULT:
                return [self._tool(run, frame)]
            case EventKind.APPROVAL_REQUEST:
                self._approvals[frame["call_id"]] = frame
                # Of an agent that this one called: the turn itself runs, and says nothing more of it.
                return [self._question(run, frame)] if frame.get("depth") else []
            case EventKind.APPROVAL_DECIDED:
                self._approvals.pop(frame["call_id"], None)
            case EventKind.WAITING:
                return [self._question(run, frame)]
            case EventKind.SNAPSHOT:
                return await self._replaced(frame)
            case EventKind.ERROR:
                self._failure = Failure(frame["reason"], frame["message"])
            case EventKind.TURN_FINISHED:
                return self._end(run, frame)
        return []

    def _status(self, run: Run, state: TaskState) -> TaskStatusUpdateEvent:
        status = TaskStatus(state=state, timestamp=moment(run.at_ms))
        return TaskStatusUpdateEvent(task_id=self.task_id, context_id=self.context_id, status=status)

    def _tool(self, run: Run, frame: dict[str, Any]) -> TaskStatusUpdateEvent:
        event = self._status(run, TaskState.TASK_STATE_WORKING)
        fields = {name: value for name, value in frame.items() if name not in ("chunk", "turn_id")}
        call_id = frame["tool"]["call_id"] if run.kind is EventKind.TOOL_CALL else frame["call_id"]
        message_id = f"{self.task_id}.{call_id}.{run.kind.value}"
        event.status.message.CopyFrom(
            agent_message(message_id, [data_part(fields)], task_id=self.task_id, context_id=self.context_id)
        )
        return event

    def _question(self, run: Run, frame: dict[str, Any]) -> TaskStatusUpdateEvent:
        self.is_waiting = True
        event = self._status(run, TaskState.TASK_STATE_INPUT_REQUIRED)
        waiting = {"waiting_for": "approval", **frame}
        questions = question_of_frames(waiting, list(self._approvals.values()))
        event.status.message.CopyFrom(message_of(questions, task_id=self.task_id, context_id=self.context_id))
        return event

    async def _replaced(self, frame: dict[str, Any]) -> list[Text | Update]:
        """A snapshot replaces one message: the artifact is sent anew, with what the steps before it said."""
        query = partial(messages.of_turn, session_id=self.context_id, turn_id=self.task_id)
        text = ""
        for row in await self._session_log.database.read(query):
            if row.message_id == frame["message_id"]:
                break
            text += row.content if row.role == "assistant" else ""
        text += frame["text"]
        if not text and not self._has_text:
            return []
        self._has_text = True
        artifact = Artifact(artifact_id=ARTIFACT, parts=[text_part(text)])
        return [TaskArtifactUpdateEvent(task_id=self.task_id, context_id=self.context_id, artifact=artifact)]

    def _end(self, run: Run, frame: dict[str, Any]) -> list[Text | Update]:
        self.is_over, self.is_waiting = True, False
        state = TurnState(frame["status"])
        event = self._status(run, STATES[state])
        if sentence := why_ended(state, frame.get("reason"), self._failure):
            message_id = f"{self.task_id}.end"
            event.status.message.CopyFrom(
                agent_message(message_id, [text_part(sentence)], task_id=self.task_id, context_id=self.context_id)
            )
        event.metadata.CopyFrom(struct(metadata_of(frame)))
        return [*([Text(b"", is_last=True)] if self._has_text else []), event]


def update_of(text: Text, task_id: str, context_id: str) -> TaskArtifactUpdateEvent:
    """A piece of text as the event that it is."""
    return TaskArtifactUpdateEvent(
        task_id=task_id,
        context_id=context_id,
        artifact=Artifact(artifact_id=ARTIFACT, parts=[text_part(unescape(text.escaped))]),
        append=not text.is_first,
        last_chunk=text.is_last,
    )
