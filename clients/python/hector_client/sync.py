"""The synchronous client: the twin of the asynchronous one, method for method, without `await`.

One thing differs: a `Session.disconnect` in another thread ends a `listen` with its next event or heartbeat.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from hector_client import _operations as operations
from hector_client._drivers import Connection, Driver
from hector_client._following import Patience, follow
from hector_client._http import TimeLimits, settings
from hector_client._operations import JSON, PAGE, Acts, Page
from hector_client._state import AnswerState, SessionState, post_message
from hector_client._steps import Call, Request
from hector_client.errors import HectorError
from hector_client.events import Event

T = TypeVar("T")


class Client:
    """A server. Without `base_url` and `token`: HECTOR_SERVER (http://localhost:8080) and HECTOR_TOKEN.

    `user` is the end user on whose behalf everything is asked; `transport` is httpx2's, for servers that are reached
    in another way. Every method raises HectorError: `Refused` for what the server refuses, `Unreachable` when it does
    not answer.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        user: str | None = None,
        limits: TimeLimits | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.limits = limits or TimeLimits()
        url, options = settings(base_url, token=token, user=user, limits=self.limits)
        self.driver = Driver(httpx2.Client(transport=transport, **options), url, self.limits)
        """Carries out the requests."""

    @property
    def place(self) -> str:
        """Where the answers come from, as errors and programs name it to people."""
        return self.driver.place

    @place.setter
    def place(self, place: str) -> None:
        self.driver.place = place

    @property
    def patience(self) -> Patience:
        return Patience(self.limits.patience, self.place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.driver.close()

    def agent(self, name: str) -> Agent:
        """A handle on an agent; makes no request."""
        return Agent(self, name)

    def agents(self) -> list[JSON]:
        return self.driver.call(operations.agents())

    def ping(self) -> None:
        """Raises Unreachable if no HTTP response arrives; any status counts as alive."""
        self.driver.call(operations.ping())

    def is_ready(self) -> bool:
        try:
            return self.driver.call(operations.is_ready())
        except HectorError:
            return False

    def document_stores(self) -> list[JSON]:
        return self.driver.call(operations.document_stores())

    def documents(self, store: str, *, limit: int = 50) -> Page:
        return self.driver.call(operations.documents(store, limit=limit))

    def search_documents(self, query: str, *, store: str | None = None, limit: int = 10) -> JSON:
        return self.driver.call(operations.search_documents(query, store=store, limit=limit))

    def reindex_documents(self, store: str, *, again: bool = False) -> JSON:
        return self.driver.call(operations.reindex_documents(store, again=again))


class Agent:
    """An agent of a server."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self.client = client
        self.memories = Memories(client, name)

    def info(self, *, ask_provider: bool = False) -> JSON:
        """`ask_provider`: the server first asks how much context the model has, if it does not know; 2 s at most."""
        return self.client.driver.call(operations.agent(self.name, ask_provider=ask_provider))

    def session(self, session_id: str | None = None) -> Session:
        """A handle; `connect` looks the session up, or creates one when no id is given."""
        return Session(self.client, self.name, session_id)

    def create_session(
        self,
        session_id: str | None = None,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ephemeral: bool | None = None,
        messages: Sequence[Mapping[str, str]] | None = None,
    ) -> Session:
        """Create a session. If `session_id` names an existing one, that one is returned: see `is_new`."""
        body = {"session_id": session_id, "title": title, "metadata": metadata, "ephemeral": ephemeral}
        made = self.client.driver.call(operations.create_session(self.name, {**body, "messages": messages}))
        return Session(self.client, self.name, made.session["session_id"], about=made.session, is_new=made.is_new)

    def sessions(self, *, limit: int = 50, status: str | None = None, order: str = "created") -> Page:
        """List sessions. `order`: `created`, or `activity` for the most recently active first."""
        return self.client.driver.call(operations.sessions(self.name, limit=limit, status=status, order=order))

    def ask(
        self, message: str, *, instructions: str | None = None, response_format: Mapping[str, Any] | None = None
    ) -> Answer:
        """Send one message outside any session; the request is made when the answer is iterated over.

        `response_format`: `{"type": "json_object"}`, or `json_schema` with a schema; `response()` then has `output`.
        """
        body = {"message": message, "instructions": instructions, "response_format": response_format}
        post = post_message(self.name, None, body)
        return Answer(self.client, self.name, None, post, None)

    def approvals(self, *, limit: int = PAGE) -> Acts:
        """The calls of tools that wait for a decision, in all sessions that the key may see."""
        return self.client.driver.call(operations.approvals(self.name, None, limit=limit))

    def forget(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        memory: str | None = None,
        phrase: str | None = None,
    ) -> JSON:
        """Erase permanently what matches all given fields, wherever it is stored. Returns the receipt."""
        body = {"user_id": user, "session_id": session, "memory_id": memory, "phrase": phrase}
        return self.client.driver.call(operations.forget(self.name, body))


class Session(SessionState):
    """`connect`, `send` and `listen`, or `ask` for one answer; `cancel`, `end`, `terminate`, `disconnect`.

    *disconnect* ends the listening, *cancel* stops a turn, *end* closes the session and keeps it readable, *terminate*
    erases it.
    """

    def __init__(
        self,
        client: Client,
        agent: str,
        session_id: str | None = None,
        *,
        about: JSON | None = None,
        is_new: bool = False,
    ) -> None:
        super().__init__(agent, session_id, about=about, is_new=is_new)
        self.client = client
        self.calls = Calls(self)
        self._connections: set[Connection] = set()

    def __enter__(self) -> Self:
        if not self.is_connected:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def connect(self, *, after: str | int | None = None) -> None:
        """Look the session up, or create it. `listen` begins after the cursor `after`; by default with the turn that is
        open now, else with what comes next.

        Raises:
            NotFound: there is no such session.
            SessionOver: it was terminated.
        """
        self.client.driver.call(self._connect(after))

    def disconnect(self) -> None:
        """End every `listen` of this object. The server keeps the session and continues its turn."""
        self._is_connected = False
        for connection in list(self._connections):
            connection.close()

    def send(
        self,
        message: str,
        *,
        instructions: str | None = None,
        on_busy: str | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> str:
        """Send a message and return the id of its turn, which runs even without a reader; `listen` has its events.

        A broken connection never duplicates it: the message is sent again with the same Idempotency-Key.
        `on_busy`: `queue`, `reject`, `replace` or `steer`.
        """
        options = {"instructions": instructions, "on_busy": on_busy, "response_format": response_format}
        return self.client.driver.call(self._send(message, options, self.client.patience))

    def steer(self, message: str) -> JSON:
        """Send a message into the running turn, whose next step has it; where none runs, it is answered as any other.

        Returns at once `turn_id` (of the running turn), `message_id`, and `steer`: `accepted`, or `queued` when the
        turn had no step left. Where none ran: what a waiting POST returns, when the turn is over or waits.
        """
        return self.client.driver.call(self._steer(message, self.client.patience))

    def listen(self) -> Generator[Event]:
        """The session's events from the cursor on, through reconnects, until it is over or disconnected."""
        reader, connection = self._connected(), Connection()
        self._connections.add(connection)
        try:
            with closing(self.client.driver.stream(follow(reader, self.client.patience), connection)) as events:
                yield from events
        finally:
            self._connections.discard(connection)
            if reader.is_over:
                self._is_connected = False

    def ask(
        self,
        message: str,
        *,
        instructions: str | None = None,
        on_busy: str | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a message and follow its answer; the request is made when the answer is iterated over."""
        options = {"instructions": instructions, "on_busy": on_busy, "response_format": response_format}
        post = post_message(self.agent_name, self.session_id, {"message": message, **options})
        return Answer(self.client, self.agent_name, self.session_id, post, None)

    def join(self, turn_id: str) -> Answer:
        """Follow the answer of a turn that was started elsewhere."""
        return Answer(self.client, self.agent_name, self.session_id, None, turn_id)

    def regenerate(
        self,
        message_id: str | None = None,
        *,
        instructions: str | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer the last message again; the old answer leaves the context."""
        post = self._regeneration(message_id, instructions, response_format)
        return Answer(self.client, self.agent_name, self.session_id, post, None)

    def cancel(self, turn_id: str | None = None, *, everything: bool = False) -> JSON | None:
        """Stop the running turn, the turn `turn_id`, or with `everything` the queued ones as well.

        Returns the turn, or `None` if none was open.
        """
        call = operations.cancel(self.agent_name, self.session_id, turn_id, everything=everything)
        return self.client.driver.call(call)

    def end(self) -> JSON:
        """Close the session for new messages; it stays readable."""
        return self.client.driver.call(operations.end(self.agent_name, self.session_id))

    def terminate(self, *, forget: bool = False) -> JSON:
        """Stop and erase the session; its id is never used again. `forget`: erase its wider memories, too.

        Returns the stop receipt.
        """
        receipt = self.client.driver.call(self._terminate(forget))
        self.disconnect()
        return receipt

    def info(self) -> JSON:
        return self.client.driver.call(operations.session(self.agent_name, self.session_id))

    def history(self, *, limit: int = 50, roles: str | None = None) -> list[JSON]:
        """The newest messages, oldest first; an answer that is being written is one more.

        `roles`: only these, with commas between them; `user,assistant` leaves out what tools said.
        """
        call = operations.history(self.agent_name, self.session_id, limit=limit, roles=roles)
        return self.client.driver.call(call)

    def result(
        self, result_id: str, *, offset: int | None = None, limit: int | None = None, grep: str | None = None
    ) -> JSON:
        """A piece of a stored result: `bytes` (of the whole), `offset`, `text`, `next_offset`; `grep`: its lines that
        match."""
        call = operations.stored_result(
            self.agent_name, self.session_id, result_id, offset=offset, limit=limit, grep=grep
        )
        return self.client.driver.call(call)

    def turn(self, turn_id: str) -> JSON:
        return self.client.driver.call(operations.turn(self.agent_name, self.session_id, turn_id))

    def change(self, **change: Any) -> JSON:
        """Change `title` or `metadata`; each is replaced as a whole, `None` clears it."""
        return self.client.driver.call(operations.change_session(self.agent_name, self.session_id, change))

    def ticket(self, *, ttl: float | str | None = None, can: Sequence[str] | None = None) -> JSON:
        """A ticket that opens this session's stream without a key: `?ticket=` in the address of an EventSource.

        `ttl`: seconds, or such as `15m`; `can`: `["read"]`, or `["read", "chat"]` for sending on the stream, too.
        Returns `ticket` and `expires_at`.
        """
        body = {"ttl": ttl, "can": can}
        return self.client.driver.call(operations.ticket(self.agent_name, self.session_id, body))

    def fork(self, at: str | None = None, *, title: str | None = None, session_id: str | None = None) -> Session:
        """Create a session with the messages up to and including `at` (a message id; default: all)."""
        body = {"at": at, "title": title, "session_id": session_id}
        made = self.client.driver.call(operations.fork(self.agent_name, self.session_id, body))
        return Session(self.client, self.agent_name, made["session_id"], about=made, is_new=True)

    def edit_message(self, message_id: str, content: str) -> Session:
        """Create a fork that ends with this user message, with the new text."""
        made = self.client.driver.call(operations.edit_message(self.agent_name, self.session_id, message_id, content))
        return Session(self.client, self.agent_name, made["session_id"], about=made, is_new=True)


class Calls:
    """The calls of tools in a session. Each is an *act*: an object with its state and every change of it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, *, turn_id: str | None = None, state: str | None = None, limit: int = PAGE) -> Acts:
        """Oldest first."""
        return self._do(operations.calls(*self._where, turn_id=turn_id, state=state, limit=limit))

    def get(self, call_id: str) -> JSON:
        return self._do(operations.call(*self._where, call_id))

    def approvals(self, *, limit: int = PAGE) -> Acts:
        """The acts that wait for a decision, also those of agents that were called."""
        return self._do(operations.approvals(*self._where, limit=limit))

    def approve(self, call_id: str, *, arguments: Mapping[str, Any] | None = None, remember: str | None = None) -> JSON:
        """Let it run, with other `arguments` if they are given. `remember`, for `session` or `agent`: the answer holds
        for all calls like it. Returns the act.

        Raises:
            Conflict: it was decided before (`already_decided`).
            ApprovalExpired: its time is over.
        """
        decision = {"approved": True, "arguments": arguments, "remember": remember}
        return self._do(operations.decide(*self._where, call_id, decision))

    def refuse(self, call_id: str, *, reason: str | None = None) -> JSON:
        """The model is told that it was refused, and the `reason`. Returns the act; raises as `approve`."""
        decision = {"approved": False, "reason": reason}
        return self._do(operations.decide(*self._where, call_id, decision))

    def post_result(self, call_id: str, result: Any) -> JSON:
        """The outcome of a tool that answers later, or the answer to a question that a tool asks. Returns the act."""
        return self._do(operations.post_result(*self._where, call_id, {"result": result}))

    def post_error(self, call_id: str, error: str) -> JSON:
        """What a tool that answers later failed with. Returns the act."""
        return self._do(operations.post_result(*self._where, call_id, {"error": error}))

    def resolve(self, call_id: str, *, happened: bool, result: Any = None) -> JSON:
        """Say of a call in state `unknown` whether it happened, and with what result. Returns the act."""
        known = {} if result is None else {"result": result}
        return self._do(operations.resolve(*self._where, call_id, {"happened": happened, **known}))

    def run_again(self, call_id: str) -> JSON:
        """Run a call in state `unknown` once more, although it may have happened. Returns the act."""
        return self._do(operations.resolve(*self._where, call_id, {"again": True}))

    @property
    def _where(self) -> tuple[str, str]:
        return self._session.agent_name, self._session.session_id

    def _do(self, steps: Call[T]) -> T:
        return self._session.client.driver.call(steps)


class Answer(AnswerState):
    """`for event in answer` follows the turn to its end, through reconnects; `text` grows meanwhile.

    Leaving the loop leaves the turn to the server: it goes on for the agent's `disconnect_grace`.
    """

    def __init__(
        self, client: Client, agent: str, session_id: str | None, post: Request | None, turn_id: str | None
    ) -> None:
        super().__init__(agent, session_id, post, turn_id)
        self._client = client

    def __iter__(self) -> Generator[Event]:
        """This turn's events; `Offline` and `Online` tell of the connection.

        Raises:
            Refused: the server does not take the message, or the session is gone.
            Unreachable: nothing was heard for longer than the patience, or the connection of a one-shot broke.
        """
        with closing(self._client.driver.stream(follow(self._reader, self._client.patience))) as events:
            yield from events

    def wait(self) -> str:
        """Follow the turn to its end and return the whole text. Raises HectorError unless it was completed."""
        if self.finished is None:
            for _ in self:
                pass
        self.raise_for_end()
        return self.text

    def cancel(self) -> JSON | None:
        """Stop the turn; its text so far is kept. Raises RuntimeError before the message is accepted."""
        return self._client.driver.call(self._cancel())

    def response(self) -> JSON:
        """The API's response to a caller that waits for this message: `response`, `usage`, `timings`, …"""
        return self._client.driver.call(self._response())


class Memories:
    """The long-term memories of an agent; only those of the client's `user`, if it has one."""

    def __init__(self, client: Client, agent: str) -> None:
        self._client = client
        self._agent = agent

    def list(self, *, limit: int = 50, session: str | None = None, kind: str | None = None) -> Page:
        """Newest first. `kind`: `message`, `summary` or `note`."""
        return self._client.driver.call(operations.memories(self._agent, limit=limit, session=session, kind=kind))

    def search(self, query: str, *, limit: int = 10, session: str | None = None, scope: str | None = None) -> JSON:
        call = operations.search_memories(self._agent, query, limit=limit, session=session, scope=scope)
        return self._client.driver.call(call)

    def get(self, memory_id: str) -> JSON:
        """A memory with its earlier texts."""
        return self._client.driver.call(operations.memory(self._agent, memory_id))

    def add(
        self, text: str, *, session: str | None = None, scope: str | None = None, pinned: bool | None = None
    ) -> JSON:
        body = {"text": text, "session_id": session, "scope": scope, "pinned": pinned}
        return self._client.driver.call(operations.add_memory(self._agent, body))

    def change(self, memory_id: str, *, text: str | None = None, pinned: bool | None = None) -> JSON:
        change = {"text": text, "pinned": pinned}
        return self._client.driver.call(operations.change_memory(self._agent, memory_id, change))

    def delete(self, memory_id: str) -> JSON:
        return self._client.driver.call(operations.delete_memory(self._agent, memory_id))

    def export(self, *, session: str | None = None) -> Generator[bytes]:
        """JSON Lines, in pieces of any size. May raise Unreachable after the first piece."""
        with closing(self._client.driver.stream(operations.export_memories(self._agent, session=session))) as pieces:
            yield from pieces

    def import_lines(self, lines: bytes) -> JSON:
        """Add the memories of an export that are not present yet."""
        return self._client.driver.call(operations.import_memories(self._agent, lines))

    def embed(self, *, again: bool = False) -> JSON:
        """Start embedding what the current embedder has not embedded, with `again` everything. Returns the progress."""
        return self._client.driver.call(operations.embed_memories(self._agent, again=again))
