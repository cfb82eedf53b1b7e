"""Cards: what an agent is and where it is reached, as A2A clients look it up. Addresses in it are absolute."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)

from app import __version__
from app.agents import Agent
from app.config.root import Config

_BEARER = "bearer"


def make_card(agent: Agent, config: Config, *, base_url: str, grpc_port: int | None) -> AgentCard:
    """`base_url`: where the server is reached, without a slash at the end. `grpc_port`: `None` if there is no gRPC."""
    name = agent.config.name or agent.name
    description = agent.config.description or f"The agent {name}."
    card = AgentCard(
        name=name,
        description=description,
        version=__version__,
        supported_interfaces=_interfaces(agent.name, base_url, grpc_port),
        capabilities=AgentCapabilities(streaming=True, push_notifications=config.compat.a2a.push),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id=agent.name, name=name, description=description, tags=["chat"])],
    )
    if config.auth.asks:
        scheme = HTTPAuthSecurityScheme(scheme="Bearer", description="A key of this server.")
        card.security_schemes[_BEARER].CopyFrom(SecurityScheme(http_auth_security_scheme=scheme))
        card.security_requirements.append(SecurityRequirement(schemes={_BEARER: StringList()}))
    return card


def _interfaces(agent: str, base_url: str, grpc_port: int | None) -> list[AgentInterface]:
    """The first one is preferred. Version 0.3 speaks JSON-RPC at the same address as 1.0."""
    url = f"{base_url}/agents/{quote(agent, safe='')}/a2a"
    found = [
        AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0"),
        AgentInterface(url=f"{url}/rest", protocol_binding="HTTP+JSON", protocol_version="1.0"),
    ]
    if grpc_port is not None:
        host = urlsplit(base_url).hostname or "localhost"
        place = f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}"
        found.append(AgentInterface(url=place, protocol_binding="GRPC", protocol_version="1.0", tenant=agent))
    return [*found, AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="0.3")]
