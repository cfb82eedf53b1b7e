"""Agents, looked up as commands do it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from app.cli.failures import CommandFailed, ExitCode
from hector_client import Agent, Client
from hector_client.errors import NotFound


async def get_agent(client: Client, name: str, *, ask_provider: bool = False) -> dict[str, Any]:
    """What the server says about an agent. Raises NotFound, naming the agents that exist."""
    try:
        return await client.agent(name).info(ask_provider=ask_provider)
    except NotFound as refusal:
        if refusal.reason == "agent_not_found":
            known = ", ".join([str(agent["agent"]) for agent in await client.agents()])
            refusal.message = f"There is no agent {name!r}; this server has: {known or 'none'}."
        raise


async def choose_agent(client: Client, name: str | None) -> dict[str, Any]:
    """The agent that is named, or the only one. Raises NotFound, and CommandFailed (2) if there are several."""
    if name is not None:
        return await get_agent(client, name)
    found = await client.agents()
    if len(found) == 1:
        return found[0]
    names = ", ".join([str(agent["agent"]) for agent in found])
    raise CommandFailed(f"Name an agent; this server has: {names or 'none'}.", code=ExitCode.USAGE, reason="no_agent")


async def choose_session(agent: Agent, session_id: str | None, *, continues: bool) -> str | None:
    """The session that is named, or with `continues` the active one of this agent in which something happened last.

    Raises CommandFailed: both are said (2), there is none to continue (4).
    """
    if not continues:
        return session_id
    if session_id is not None:
        raise CommandFailed("Say --session or --continue, not both.", code=ExitCode.USAGE, reason="invalid_request")
    found, _ = await agent.sessions(limit=1, status="active", order="activity")
    if not found:
        sentence = f"There is no active session with {agent.name} to continue; leave out --continue to begin one."
        raise CommandFailed(sentence, code=ExitCode.NOT_FOUND, reason="session_not_found")
    return str(found[0]["session_id"])


async def is_message(client: Client, word: str) -> bool:
    """Whether the only word of a command is meant for the only agent, and is not the agent's name, or nearly so."""
    found = await client.agents()
    names = [str(agent["agent"]) for agent in found]
    return len(names) == 1 and not get_close_matches(word.lower(), [names[0].lower()])
