"""What the asynchronous and the synchronous classes have in common: everything but waiting."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hector_client import _operations as operations
from hector_client._following import Patience, follow, repeat
from hector_client._operations import JSON, given
from hector_client._readers import AnswerReader, SessionReader
from hector_client._steps import Call, Reply, Request, Stream
from hector_client.errors import Refused, turn_error
from hector_client.events import ApprovalRequest, Error, Event, TurnFinished, Waiting, types_of

_CANCELLED = {
    "cancelled": "The answer was stopped.",
    "replaced": "The answer was stopped: another message replaced this one.",
    "disconnected": "The answer was stopped: its last reader had left.",
    "session_terminated": "The session was terminated and erased.",
}


class AnswerState:
    """The answer to one message, as far as it was read. A loop over it that was left may be entered again."""

    def __init__(self, agent: str, session_id: str | None, post: Request | None, turn_id: str | None) -> None:
        self._post = post
        first = None
        if post is not None:
            first = Request("POST", post.path + "/stream", headers=post.headers, body=post.body)
        self._reader = AnswerReader(agent, session_id, first=first, turn_id=turn_id)

    @property
    def session_id(self) -> str | None:
        """The session of a one-shot is known once the message was accepted."""
        return self._reader.session_id

    @property
    def turn_id(self) -> str | None:
        """`None` until the message is known to be accepted."""
        return self._reader.turn_id

    @property
    def text(self) -> str:
        """The answer so far, snapshots applied; tools and thinking are not in it."""
        return self._reader.text

    @property
    def messages(self) -> list[str]:
        """The same by messages: of a turn that calls tools, one for each step that says something."""
        return self._reader.said.messages

    @property
    def finished(self) -> TurnFinished | None:
        """The end of the turn; `None` while it is open."""
        return self._reader.finished

    @property
    def error(self) -> Error | None:
        return self._reader.error

    @property
    def is_completed(self) -> bool:
        return self.finished is not None and self.finished.status == "completed"

    @property
    def first_text_seconds(self) -> float | None:
        """From the making of this object to the first text."""
        return self._reader.first_text_seconds

    @property
    def total_seconds(self) -> float | None:
        """From the making of this object to the end of the turn."""
        return self._reader.total_seconds

    def failure(self) -> Refused | None:
        """The error that a waiting POST answers with when a turn is not completed; `None` before the end."""
        finished = self.finished
        if finished is None or finished.status == "completed":
            return None
        details = {"turn_id": self.turn_id, "session_id": self.session_id, "message_id": finished.message_id}
        details["partial"] = self.text
        reason = finished.reason
        if finished.status == "cancelled":
            over = reason == "session_terminated"
            sentence = _CANCELLED.get(str(reason), f"The answer was stopped ({reason}).")
            return turn_error("session_terminated" if over else "turn_cancelled", sentence, details)
        if finished.status == "interrupted":
            sentence = "The server was stopped in mid-answer; what is shown was kept."
            return turn_error("shutting_down", sentence, details)
        sentence = (self.error.message if self.error is not None else "") or f"The turn failed ({reason})."
        return turn_error(reason or "internal", sentence, details)

    def raise_for_end(self) -> None:
        """Raises Refused unless the turn was completed, or is not over yet."""
        if (failure := self.failure()) is not None:
            raise failure

    def _response(self) -> Call[JSON]:
        assert self._post is not None, "there is no message of ours that was answered"
        post = self._post
        # The same key: the answer is that of the turn that was followed.
        return operations.ask(Request("POST", post.path, headers=post.headers, body=post.body, is_patient=True))

    def _cancel(self) -> Call[JSON | None]:
        reader = self._reader
        if reader.session_id is None or reader.turn_id is None:
            raise RuntimeError("The message is not accepted yet; there is no turn to cancel.")
        return operations.cancel(reader.agent, reader.session_id, reader.turn_id)


class SessionState:
    """A handle on one session. Dropping it changes nothing at the server."""

    def __init__(self, agent: str | None, session_id: str | None, *, about: JSON | None, is_new: bool = False) -> None:
        if agent is None and session_id is None:
            raise ValueError("Name the session, or the agent that is to have a new one.")
        self.is_new = is_new
        """Whether `create_session` made it; `False` when there was one of that id."""
        self._agent_name = agent
        self._session_id = session_id
        self._about = about
        self._reader: SessionReader | None = None
        self._is_connected = False

    @property
    def agent_name(self) -> str:
        """Raises RuntimeError before a session that was made from its id alone is connected."""
        if self._agent_name is None:
            raise RuntimeError("The session is not connected yet; its agent is not known.")
        return self._agent_name

    @property
    def session_id(self) -> str:
        """Raises RuntimeError before a session without an id of its own is connected."""
        if self._session_id is None:
            raise RuntimeError("The session is not connected yet; it has no id.")
        return self._session_id

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def about(self) -> JSON:
        """What the server last said about the session; empty before it was asked."""
        return self._about or {}

    @property
    def cursor(self) -> str | None:
        """Where `listen` continues, also in another process. `None`: with the open turn, or with what comes next."""
        return self._reader.cursor if self._reader is not None else None

    @property
    def text(self) -> str:
        """The newest answer as far as `listen` has read it, snapshots applied."""
        return self._reader.text if self._reader is not None else ""

    def _connect(self, after: str | int | None) -> Call[None]:
        if self._session_id is None:
            made = yield from operations.create_session(self.agent_name, {})
            self._about, self.is_new = made
            self._session_id = str(made.session["session_id"])
        elif self._agent_name is None:
            self._agent_name, self._about = yield from operations.find_session(self._session_id)
        else:
            self._about = yield from operations.session(self.agent_name, self._session_id)
        cursor = str(after) if after is not None else None
        if cursor is None and self._about.get("turn") is None and not self._about.get("queued"):
            cursor = str(self._about["last_seq"])  # what is sent before `listen` begins is not missed
        self._reader = SessionReader(self.agent_name, self._session_id, cursor)
        self._is_connected = True

    def _follow(
        self, reader: SessionReader, patience: Patience, event_types: Collection[type[Event] | str] | None
    ) -> Stream[Event]:
        return follow(reader, patience, None if event_types is None else types_of(event_types))

    def _connected(self) -> SessionReader:
        if self._reader is None or not self._is_connected:
            raise RuntimeError("The session is not connected; call connect() first.")
        return self._reader

    def _send(self, message: str, options: JSON, patience: Patience) -> Call[str]:
        """The turn's id."""
        self._connected()
        post = post_message(self.agent_name, self.session_id, {"message": message, "background": True, **options})
        reply: Reply = yield from repeat(post, patience)
        return str(reply.json["turn_id"])

    def _send_many(self, messages: Sequence[str], options: JSON, patience: Patience) -> Call[str]:
        if isinstance(messages, str) or not messages:
            raise ValueError("send_many takes a list with at least one message.")
        return self._send("\n\n".join(messages), options, patience)

    def _respond(
        self, request: ApprovalRequest | Waiting | str, answer: Any, decision: Mapping[str, Any]
    ) -> Call[JSON]:
        call_id = request if isinstance(request, str) else request.call_id
        if not call_id:
            raise ValueError("The turn waits for nothing that can be answered.")
        if (answer is None) == (decision["approved"] is None):
            raise ValueError("Give either approved=, for a call that needs a decision, or answer=, for a question.")
        where = self.agent_name, self.session_id
        if answer is not None:
            return operations.post_result(*where, call_id, {"result": answer})
        return operations.decide(*where, call_id, decision)

    def _steer(self, message: str, patience: Patience) -> Call[JSON]:
        body = {"message": message, "on_busy": "steer"}
        post = replace(post_message(self.agent_name, self.session_id, body), is_patient=True)
        reply: Reply = yield from repeat(post, patience)
        return dict(reply.json)

    def _regeneration(
        self, message_id: str | None, instructions: str | None, response_format: Mapping[str, Any] | None
    ) -> Request:
        body = given({"message_id": message_id, "instructions": instructions, "response_format": response_format})
        where = operations.session_path(self.agent_name, self.session_id, "regenerate")
        return Request("POST", where, headers=new_key(), body=body)

    def _terminate(self, forget: bool) -> Call[JSON]:
        receipt = yield from operations.terminate(self.agent_name, self.session_id, forget=forget)
        self._is_connected = False
        return receipt


def post_message(agent: str, session_id: str | None, body: JSON) -> Request:
    """Has an Idempotency-Key of its own: sent twice, it is one message."""
    return Request("POST", operations.messages_path(agent, session_id), headers=new_key(), body=given(body))


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(16)}
