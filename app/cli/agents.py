"""Agents, looked up as commands do it."""

from __future__ import annotations

from typing import Any

from hector_client import Client
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
