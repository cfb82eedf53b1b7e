"""Limits of the doors are keys of the configuration, and a refusal names the key."""

from __future__ import annotations

import pytest

from app.compat.agui import Context, instructions_of
from app.compat.openai.calls import read_tools
from app.config.compat import OpenAIConfig
from app.config.server import ServerConfig
from app.domain.errors import InvalidRequest
from app.rpc.server import options_of

TOOL = {"type": "function", "function": {"name": "weather"}}


def test_a_client_gives_as_many_tools_as_are_allowed() -> None:
    config = OpenAIConfig.model_validate({"max_tools": 2, "result_timeout": "5s"})
    assert len(read_tools([TOOL] * 2, None, config)) == 2
    with pytest.raises(InvalidRequest, match="max_tools"):
        read_tools([TOOL] * 3, None, config)


def test_a_page_says_as_much_as_is_allowed() -> None:
    context = [Context(description="page", value="twelve words")]
    assert instructions_of(context, 18) == "page:\ntwelve words"
    with pytest.raises(InvalidRequest, match="max_context"):
        instructions_of(context, 17)


def test_connections_of_grpc_are_bounded_as_configured() -> None:
    config = ServerConfig.model_validate({"grpc_max_calls": 7, "grpc_idle_timeout": "90s"})
    options = dict(options_of(config, is_shared=False))
    assert options["grpc.max_concurrent_streams"] == 7
    assert options["grpc.max_connection_idle_ms"] == 90_000
