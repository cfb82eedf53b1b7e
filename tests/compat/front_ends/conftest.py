"""One server with both doors of front ends, the coder of examples/demo, and agents that count, hurry and fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import yaml

from tests.fixtures.server import ROOT, HectorServer

WORDS = " ".join([f"word{number}" for number in range(60)])


def settings(**changes: Any) -> dict[str, Any]:
    """The demo's configuration, with what the tests of front ends add."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "demo" / "config.yaml").read_text(encoding="utf-8"))
    for model in found["llms"].values():
        for answer in model["script"]:
            answer["delay_ms"] = 2
    found["llms"] |= {
        "counter": {"type": "scripted", "script": [{"text": WORDS, "thinking": "I count.", "delay_ms": 5}]},
        "broken": {"type": "scripted", "script": [{"error": "no power"}]},
    }
    found["agents"] |= {
        "assistant": {"llm": "counter", "reasoning": {"show_thinking": True}},
        "hasty": {"llm": "counter", "streaming": {"disconnect_grace": "0s"}},
        "broken": {"llm": "broken"},
    }
    found["compat"] = {"agui": {"enabled": True}, "ai_sdk": {"enabled": True}}
    found["server"] = {"shutdown_grace": "300ms"}
    return found | changes


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def server(tmp_path_factory: Any) -> AsyncIterator[HectorServer]:
    made = HectorServer(Path(tmp_path_factory.mktemp("hector")), settings())
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=20) as made:
        yield made
