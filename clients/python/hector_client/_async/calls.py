"""The calls of tools in a session: listing, approving, answering, resolving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from hector_client import _operations as operations
from hector_client._operations import JSON, PAGE, Acts
from hector_client._steps import Call

if TYPE_CHECKING:
    from hector_client._async.session import Session

T = TypeVar("T")


class Calls:
    """The calls of tools in a session. Each is an *act*: an object with its state and every change of it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def list(self, *, turn_id: str | None = None, state: str | None = None, limit: int = PAGE) -> Acts:
        """Oldest first."""
        return await self._do(operations.calls(*self._where, turn_id=turn_id, state=state, limit=limit))

    async def get(self, call_id: str) -> JSON:
        return await self._do(operations.call(*self._where, call_id))

    async def approvals(self, *, limit: int = PAGE) -> Acts:
        """The acts that wait for a decision, also those of agents that were called."""
        return await self._do(operations.approvals(*self._where, limit=limit))

    async def approve(
        self, call_id: str, *, arguments: Mapping[str, Any] | None = None, remember: str | None = None
    ) -> JSON:
        """Let it run, with other `arguments` if they are given. `remember`, for `session` or `agent`: the answer holds
        for all calls like it. Returns the act.

        Raises:
            Conflict: it was decided before (`already_decided`).
            ApprovalExpired: its time is over.
        """
        decision = {"approved": True, "arguments": arguments, "remember": remember}
        return await self._do(operations.decide(*self._where, call_id, decision))

    async def refuse(self, call_id: str, *, reason: str | None = None) -> JSON:
        """The model is told that it was refused, and the `reason`. Returns the act; raises as `approve`."""
        decision = {"approved": False, "reason": reason}
        return await self._do(operations.decide(*self._where, call_id, decision))

    async def post_result(self, call_id: str, result: Any) -> JSON:
        """The outcome of a tool that answers later, or the answer to a question that a tool asks. Returns the act."""
        return await self._do(operations.post_result(*self._where, call_id, {"result": result}))

    async def post_error(self, call_id: str, error: str) -> JSON:
        """What a tool that answers later failed with. Returns the act."""
        return await self._do(operations.post_result(*self._where, call_id, {"error": error}))

    async def resolve(self, call_id: str, *, happened: bool, result: Any = None) -> JSON:
        """Say of a call in state `unknown` whether it happened, and with what result. Returns the act."""
        known = {} if result is None else {"result": result}
        return await self._do(operations.resolve(*self._where, call_id, {"happened": happened, **known}))

    async def run_again(self, call_id: str) -> JSON:
        """Run a call in state `unknown` once more, although it may have happened. Returns the act."""
        return await self._do(operations.resolve(*self._where, call_id, {"again": True}))

    @property
    def _where(self) -> tuple[str, str]:
        return self._session.agent_name, self._session.session_id

    async def _do(self, steps: Call[T]) -> T:
        return await self._session.client.driver.call(steps)
