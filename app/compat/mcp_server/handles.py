"""Handles: how a client names a turn in a later request, as the id of a task or the state of a call that asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from app.agents import Agent
from app.compat.mcp_server.offer import find
from app.domain.errors import HectorError, NotFound, SessionOver, turn_not_found
from app.domain.principal import Principal
from app.domain.turn import Turn
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

EXTENSION = "io.modelcontextprotocol/tasks"


@dataclass(frozen=True, slots=True)
class Handled:
    """A turn that a handle names, and its session."""

    agent: Agent
    session_log: SessionLog
    turn: OpenTurn | Turn

    @property
    def handle(self) -> str:
        """Agent, session and turn: it works after a restart and on every server, and grants nothing by itself."""
        return f"{self.agent.name}/{self.session_log.session.session_id}/{self.turn.turn_id}"

    @property
    def is_first(self) -> bool:
        """Whether it is the first turn of its session."""
        return (self.turn.first_seq - 1 if isinstance(self.turn, Turn) else self.turn.after) == 0


async def find_turn(runtime: Runtime, principal: Principal, handle: str) -> Handled:
    """Raises NotFound: there is none, or it is somebody else's. SessionOver: the session was terminated."""
    parts = handle.split("/")
    agent = find(runtime, parts[0], principal)
    if len(parts) != 3 or agent is None:
        raise turn_not_found(handle[:200])
    session_log = await runtime.sessions.get(principal, agent.name, parts[1])
    return Handled(agent, session_log, await runtime.history.find(session_log, parts[2]))


async def find_task(runtime: Runtime, context: ServerRequestContext, task_id: str) -> Handled:
    """Raises MCPError: no such task of this caller, or the client has not declared the extension."""
    if not has_tasks(context):
        needed = types.MissingRequiredClientCapabilityErrorData(
            required_capabilities=types.ClientCapabilities(extensions={EXTENSION: {}})
        )
        data = needed.model_dump(mode="json", by_alias=True, exclude_none=True)
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "Missing required client capability", data)
    with in_words_of_the_protocol():
        return await find_turn(runtime, principal_of(context), task_id)


@contextmanager
def in_words_of_the_protocol() -> Iterator[None]:
    """Raises MCPError for our errors, in requests whose result has no place for them."""
    try:
        yield
    except (NotFound, SessionOver) as error:
        raise MCPError(types.INVALID_PARAMS, f"Task not found: {error.message}") from error
    except HectorError as error:
        raise MCPError(types.INTERNAL_ERROR, error.message) from error


def principal_of(context: ServerRequestContext) -> Principal:
    """Whoever made the HTTP request that carries this message."""
    assert context.request is not None
    principal: Principal = context.request.scope["principal"]
    return principal


def has_tasks(context: ServerRequestContext) -> bool:
    """Whether this request may be answered with a task."""
    capabilities = context.session.client_capabilities
    return capabilities is not None and EXTENSION in (capabilities.extensions or {})


def has_forms(context: ServerRequestContext) -> bool:
    """Whether the client can ask its user to fill in a form; an empty declaration means forms."""
    capabilities = context.session.client_capabilities
    asked = capabilities.elicitation if capabilities is not None else None
    return asked is not None and (asked.form is not None or asked.url is None)
