"""Agents as the client describes them, and as entries of `agents:`."""

from __future__ import annotations

from typing import Any

import orjson

from app.agents import Agent
from app.config.root import Config
from app.domain.created_agent import CreatedAgent
from app.domain.errors import InvalidRequest
from app.domain.message import is_blank

MAX_NAME = 200
_ECHOED = (
    "name",
    "llm_client_key",
    "tools",
    "inputs",
    "outputs",
    "instructions",
    "agent_type",
    "memory_config",
    "enable_subagents",
    "editable_object_types",
)
_OWN_MODEL = ("api_key", "base_url", "endpoint", "deployment_id", "fine_tuned_model_id")
_TYPES = {"google": "gemini"}
"""Providers whose name is another one here."""


def entry_of(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """The entry of `agents:` that a client's agent is.

    Raises:
        InvalidRequest: a field is missing or wrong, no configured model fits, or it asks for what the server lacks.
    """
    name, instructions = given.get("name"), given.get("instructions")
    if not isinstance(name, str) or is_blank(name) or len(name) > MAX_NAME:
        raise InvalidRequest(f"name: must be a text of 1 to {MAX_NAME} characters.")
    if instructions is not None and not isinstance(instructions, str):
        raise InvalidRequest("instructions: must be a text.")
    if given.get("tools"):
        raise InvalidRequest("tools: agents that are made here have none; list them under agents in the configuration.")
    if given.get("enable_subagents"):
        raise InvalidRequest("enable_subagents: agents that are made here call no others.")
    prompt = {} if instructions is None or is_blank(instructions) else {"prompt": {"system_prompt": instructions}}
    return {
        "name": name,
        "llm": _llm_of(config, given.get("llm_client_key")),
        **prompt,
        "memory": _memory_of(_object(given, "memory_config")),
        # The dialect's promise: who disconnects finds the answer later. What is to stop is terminated.
        "streaming": {"disconnect_grace": "never"},
    }


def find_llm(config: Config, provider: str, model_id: str) -> str | None:
    """The configured entry of `llms` of that name, or of that type and model; else `compat.vectorshift.default_llm`."""
    kind = _TYPES.get(provider.lower(), provider.lower())
    usable = {name: llm for name, llm in config.llms.items() if llm.is_configured}
    if model_id in usable:
        return model_id
    for name, llm in usable.items():
        if llm.type == kind and llm.model == model_id:
            return name
    return config.compat.vectorshift.default_llm


def _llm_of(config: Config, given: Any) -> str:
    if not isinstance(given, dict):
        raise InvalidRequest("llm_client_key: must be an object with provider and model_id.")
    provider, model_id = given.get("provider"), given.get("model_id")
    if not isinstance(provider, str) or not isinstance(model_id, str):
        raise InvalidRequest("llm_client_key: provider and model_id are needed.")
    own = [name for name in _OWN_MODEL if given.get(name) is not None]
    if own:
        raise InvalidRequest(f"llm_client_key.{own[0]}: models are configured on the server, under llms; leave it out.")
    found = find_llm(config, provider, model_id)
    if found is None:
        raise InvalidRequest(
            f"llm_client_key: this server has no model {model_id[:80]!r} of {provider[:80]!r} (llms: "
            f"{', '.join(config.llms)}); configure one, or set compat.vectorshift.default_llm."
        )
    return found


def _memory_of(given: dict[str, Any]) -> dict[str, Any]:
    """Without session memory the model sees the newest message alone."""
    working = {} if given.get("enable_session_memory", True) else {"strategy": "buffer_window", "window_size": 1}
    longterm = {"longterm": {"storage_scope": "conversational"}} if given.get("enable_global_memory") else {}
    return {"working": working, **longterm}


def _object(given: dict[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name)
    if found is not None and not isinstance(found, dict):
        raise InvalidRequest(f"{name}: must be an object.")
    return found or {}


def given_of(given: dict[str, Any]) -> dict[str, Any]:
    """What of a client's agent it is shown again."""
    for name in ("inputs", "outputs"):
        _object(given, name)
    return {name: given[name] for name in _ECHOED if given.get(name) is not None}


def created_json(created: CreatedAgent) -> dict[str, Any]:
    """As the client parses it, which warns its user of every field that it does not know."""
    shown = {"tools": {}, "inputs": {}, "outputs": {}, "instructions": "", "agent_type": "functional"}
    return {**shown, **orjson.loads(created.given), "_id": created.agent_id, "mainBranch": "main"}


def configured_json(config: Config, agent: Agent) -> dict[str, Any]:
    """An agent of the configuration. Its prompt is the operator's, and not told."""
    llm = config.llms.get(agent.config.llm)
    return {
        "_id": agent.name,
        "name": agent.config.name,
        "mainBranch": "main",
        "llm_client_key": {"provider": llm.type if llm is not None else "", "model_id": agent.llm.name},
        "tools": {},
        "inputs": {},
        "outputs": {},
        "instructions": "",
        "agent_type": "conversational",
        "memory_config": {
            "enable_session_memory": True,
            "enable_global_memory": agent.config.memory.longterm is not None,
        },
    }
