"""An agent: its sessions, one-shots, approvals and memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hector_client import _operations as operations
from hector_client._async.answer import Answer
from hector_client._async.default import default_client
from hector_client._async.memories import Memories
from hector_client._async.session import Session
from hector_client._operations import JSON, PAGE, Acts, Page
from hector_client._state import post_message

if TYPE_CHECKING:
    from hector_client._async.client import Client


class Agent:
    """An agent of a server, under the `name` that its configuration and the addresses have."""

    def __init__(self, client: Client, name: str, *, about: JSON | None = None) -> None:
        self.name = name
        self.client = client
        self.memories = Memories(client, name)
        self.about: JSON = about or {}
        """What the server said about the agent last; empty before it was asked."""

    @classmethod
    async def fetch(cls, name: str, *, client: Client | None = None) -> Agent:
        """Look an agent up. Without a `client`: at the server of HECTOR_SERVER, with the key in HECTOR_TOKEN.

        Raises NotFound: the server has no agent of that name.
        """
        agent = cls(client or default_client(), name)
        await agent.info()
        return agent

    @classmethod
    async def list(cls, *, client: Client | None = None) -> Agents:
        """All agents of the server; without a `client` as in `fetch`."""
        client = client or default_client()
        return [cls(client, about["agent"], about=about) for about in await client.agents()]

    @property
    def display_name(self) -> str:
        """What the agent is called for people, once the server was asked; else its `name`."""
        return str(self.about.get("name") or self.name)

    async def info(self, *, ask_provider: bool = False) -> JSON:
        """`ask_provider`: the server first asks how much context the model has, if it does not know; 2 s at most."""
        self.about = await self.client.driver.call(operations.agent(self.name, ask_provider=ask_provider))
        return self.about

    def session(self, session_id: str | None = None) -> Session:
        """A handle; `connect` looks the session up, or creates one when no id is given."""
        return Session(session_id, agent=self.name, client=self.client)

    async def create_session(
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
        made = await self.client.driver.call(operations.create_session(self.name, {**body, "messages": messages}))
        return Session(
            made.session["session_id"], agent=self.name, client=self.client, about=made.session, is_new=made.is_new
        )

    async def sessions(self, *, limit: int = 50, status: str | None = None, order: str = "created") -> Page:
        """List sessions. `order`: `created`, or `activity` for the most recently active first."""
        return await self.client.driver.call(operations.sessions(self.name, limit=limit, status=status, order=order))

    def ask(
        self, message: str, *, instructions: str | None = None, response_format: Mapping[str, Any] | None = None
    ) -> Answer:
        """Send one message outside any session; the request is made when the answer is iterated over.

        `response_format`: `{"type": "json_object"}`, or `json_schema` with a schema; `response()` then has `output`.
        """
        body = {"message": message, "instructions": instructions, "response_format": response_format}
        post = post_message(self.name, None, body)
        return Answer(self.client, self.name, None, post, None)

    async def approvals(self, *, limit: int = PAGE) -> Acts:
        """The calls of tools that wait for a decision, in all sessions that the key may see."""
        return await self.client.driver.call(operations.approvals(self.name, None, limit=limit))

    async def forget(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        memory: str | None = None,
        phrase: str | None = None,
    ) -> JSON:
        """Erase permanently what matches all given fields, wherever it is stored. Returns the receipt."""
        body = {"user_id": user, "session_id": session, "memory_id": memory, "phrase": phrase}
        return await self.client.driver.call(operations.forget(self.name, body))


Agents = list[Agent]
