"""A handle on one session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hector_client import _operations as operations
from hector_client._async.answer import Answer
from hector_client._async.calls import Calls
from hector_client._async.connection import AsyncConnection
from hector_client._async.default import default_client
from hector_client._operations import JSON
from hector_client._state import SessionState, post_message
from hector_client.events import ApprovalRequest, Event, Waiting

if TYPE_CHECKING:
    from hector_client._async.client import Client


class Session(SessionState):
    """`connect`, `send` and `listen`, or `ask` for one answer; `respond` to what it asks; `cancel`, `end`, `terminate`.

    `Session(session_id=…)` is enough for one that exists, whoever its agent is. Without a `client`: at the server of
    HECTOR_SERVER, with the key in HECTOR_TOKEN, over connections that this event loop shares.

    *disconnect* ends the listening, *cancel* stops a turn, *end* closes the session and keeps it readable, *terminate*
    erases it.
    """

    def __init__(
        self,
        session_id: str | None = None,
        *,
        agent: str | None = None,
        client: Client | None = None,
        about: JSON | None = None,
        is_new: bool = False,
    ) -> None:
        super().__init__(agent, session_id, about=about, is_new=is_new)
        self.calls = Calls(self)
        self._client = client
        self._connections: set[AsyncConnection] = set()

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = default_client()
        return self._client

    async def __aenter__(self) -> Self:
        if not self.is_connected:
            await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def connect(self, *, after: str | int | None = None) -> None:
        """Look the session up, or create it. `listen` begins after the cursor `after`; by default with the turn that is
        open now, else with what comes next.

        Raises:
            NotFound: there is no such session, or it is another caller's.
            SessionError: it was terminated.
        """
        await self.client.driver.call(self._connect(after))

    async def disconnect(self) -> None:
        """End every `listen` of this object. The server keeps the session and continues its turn."""
        self._is_connected = False
        for connection in list(self._connections):
            await connection.close()

    async def send(
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
        return await self.client.driver.call(self._send(message, options, self.client.patience))

    async def send_many(
        self,
        messages: Sequence[str],
        *,
        instructions: str | None = None,
        on_busy: str | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> str:
        """Send several texts that one turn answers: as one message, an empty line between them; else like `send`."""
        options = {"instructions": instructions, "on_busy": on_busy, "response_format": response_format}
        return await self.client.driver.call(self._send_many(messages, options, self.client.patience))

    async def respond(
        self,
        request: ApprovalRequest | Waiting | str,
        *,
        approved: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
        reason: str | None = None,
        remember: str | None = None,
        answer: Any = None,
    ) -> JSON:
        """Answer what a turn waits for; `request` is the event that said so, or its `call_id`. Returns the act.

        For a call that needs a decision: `approved`, with other `arguments` or a `reason` for the model; `remember`,
        for `session` or `agent`: the decision holds for all calls like it. For a question, or a tool that answers
        later: `answer`.

        Raises:
            Conflict: it was decided before (`already_decided`).
            ApprovalExpired: its time is over.
        """
        decision = {"approved": approved, "arguments": arguments, "reason": reason, "remember": remember}
        return await self.client.driver.call(self._respond(request, answer, decision))

    async def steer(self, message: str) -> JSON:
        """Send a message into the running turn, whose next step has it; where none runs, it is answered as any other.

        Returns at once `turn_id` (of the running turn), `message_id`, and `steer`: `accepted`, or `queued` when the
        turn had no step left. Where none ran: what a waiting POST returns, when the turn is over or waits.
        """
        return await self.client.driver.call(self._steer(message, self.client.patience))

    async def listen(self, *, event_types: Collection[type[Event] | str] | None = None) -> AsyncGenerator[Event]:
        """The session's events from the cursor on, through reconnects, until it is over or disconnected.

        `event_types`: only these, by class or by `type`. No event is ever dropped, however slow the loop is: nothing is
        read ahead, and the server sends a reader that lags fewer, larger pieces of text.
        """
        reader, connection = self._connected(), AsyncConnection()
        steps = self._follow(reader, self.client.patience, event_types)
        self._connections.add(connection)
        try:
            async with aclosing(self.client.driver.stream(steps, connection)) as events:
                async for event in events:
                    yield event
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

    async def cancel(self, turn_id: str | None = None, *, everything: bool = False) -> JSON | None:
        """Stop the running turn, the turn `turn_id`, or with `everything` the queued ones as well.

        Returns the turn, or `None` if none was open.
        """
        call = operations.cancel(self.agent_name, self.session_id, turn_id, everything=everything)
        return await self.client.driver.call(call)

    async def end(self) -> JSON:
        """Close the session for new messages; it stays readable."""
        return await self.client.driver.call(operations.end(self.agent_name, self.session_id))

    async def terminate(self, *, forget: bool = False) -> JSON:
        """Stop and erase the session; its id is never used again. `forget`: erase its wider memories, too.

        Returns the stop receipt.
        """
        receipt = await self.client.driver.call(self._terminate(forget))
        await self.disconnect()
        return receipt

    async def info(self) -> JSON:
        return await self.client.driver.call(operations.session(self.agent_name, self.session_id))

    async def get_messages(self, *, limit: int = 50, roles: str | None = None) -> list[JSON]:
        """The newest messages, oldest first; an answer that is being written is one more.

        `roles`: only these, with commas between them; `user,assistant` leaves out what tools said.
        """
        call = operations.messages(self.agent_name, self.session_id, limit=limit, roles=roles)
        return await self.client.driver.call(call)

    async def result(
        self, result_id: str, *, offset: int | None = None, limit: int | None = None, grep: str | None = None
    ) -> JSON:
        """A piece of a stored result: `bytes` (of the whole), `offset`, `text`, `next_offset`; `grep`: its lines that
        match."""
        call = operations.stored_result(
            self.agent_name, self.session_id, result_id, offset=offset, limit=limit, grep=grep
        )
        return await self.client.driver.call(call)

    async def turn(self, turn_id: str) -> JSON:
        return await self.client.driver.call(operations.turn(self.agent_name, self.session_id, turn_id))

    async def change(self, **change: Any) -> JSON:
        """Change `title` or `metadata`; each is replaced as a whole, `None` clears it."""
        return await self.client.driver.call(operations.change_session(self.agent_name, self.session_id, change))

    async def ticket(self, *, ttl: float | str | None = None, can: Sequence[str] | None = None) -> JSON:
        """A ticket that opens this session's stream without a key: `?ticket=` in the address of an EventSource.

        `ttl`: seconds, or such as `15m`; `can`: `["read"]`, or `["read", "chat"]` for sending on the stream, too.
        Returns `ticket` and `expires_at`.
        """
        body = {"ttl": ttl, "can": can}
        return await self.client.driver.call(operations.ticket(self.agent_name, self.session_id, body))

    async def fork(self, at: str | None = None, *, title: str | None = None, session_id: str | None = None) -> Session:
        """Create a session with the messages up to and including `at` (a message id; default: all)."""
        body = {"at": at, "title": title, "session_id": session_id}
        made = await self.client.driver.call(operations.fork(self.agent_name, self.session_id, body))
        return self._of(made)

    async def edit_message(self, message_id: str, content: str) -> Session:
        """Create a fork that ends with this user message, with the new text."""
        made = await self.client.driver.call(
            operations.edit_message(self.agent_name, self.session_id, message_id, content)
        )
        return self._of(made)

    def _of(self, made: JSON) -> Session:
        """A session that was made of this one."""
        return Session(made["session_id"], agent=self.agent_name, client=self.client, about=made, is_new=True)
