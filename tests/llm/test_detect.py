"""What is served without a configuration."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from app.llm.detect import PROBE_SECONDS, Probe, choose


@pytest.fixture(scope="module")
def nothing() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest_asyncio.fixture
async def answer() -> AsyncIterator[dict[str, Any]]:
    """`host` of something at the place of Ollama; what it answers can be changed."""
    said: dict[str, Any] = {"status": 200, "text": "{}"}

    async def tags(_request: web.Request) -> web.Response:
        return web.Response(status=said["status"], text=said["text"])

    app = web.Application()
    app.router.add_get("/api/tags", tags)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    said["host"] = f"127.0.0.1:{runner.addresses[0][1]}"
    yield said
    await runner.cleanup()


async def chosen(**environ: str) -> tuple[str, str | None]:
    """Type and model."""
    choice = await asyncio.to_thread(choose, environ)
    return (choice.llm["type"], choice.llm["model"]) if choice.llm is not None else ("local", None)


@pytest.mark.parametrize(
    ("environ", "kind", "model"),
    [
        ({"OPENAI_API_KEY": "k"}, "openai", "gpt-5-mini"),
        ({"ANTHROPIC_API_KEY": "k"}, "anthropic", "claude-sonnet-4-5"),
        ({"GEMINI_API_KEY": "k"}, "gemini", "gemini-2.5-flash"),
        ({"OPENROUTER_API_KEY": "k"}, "openrouter", "openrouter/auto"),
        ({"OPENROUTER_API_KEY": "k", "GEMINI_API_KEY": "k"}, "gemini", "gemini-2.5-flash"),
        ({"OPENAI_API_KEY": "k", "OPENAI_MODEL": "mine"}, "openai", "mine"),
        ({"OPENAI_BASE_URL": "http://x/v1", "OPENAI_MODEL": "mine"}, "vllm", "mine"),
        ({"OPENAI_API_KEY": " ", "OPENAI_BASE_URL": "http://x/v1"}, "local", None),
        ({}, "local", None),
    ],
)
async def test_a_key_chooses_its_provider_with_a_current_model(
    environ: dict[str, str], kind: str, model: str | None, nothing: str
) -> None:
    assert await chosen(**environ, OLLAMA_HOST=nothing) == (kind, model)


async def test_an_ollama_that_runs_is_served_with_its_first_model_that_chats(answer: dict[str, Any]) -> None:
    answer["text"] = '{"models": [{"name": "nomic-embed-text:latest"}, {"name": "llama3.2:3b"}, {"name": "qwen3:8b"}]}'

    assert await chosen(OLLAMA_HOST=answer["host"]) == ("ollama", "llama3.2:3b")
    assert await chosen(OLLAMA_HOST=answer["host"], OLLAMA_MODEL="qwen3:8b") == ("ollama", "qwen3:8b")
    assert await chosen(OLLAMA_HOST=answer["host"], GEMINI_API_KEY="k") == ("gemini", "gemini-2.5-flash")


@pytest.mark.parametrize(
    ("status", "text"),
    [(200, "[]"), (200, '{"models": 1}'), (200, '{"models": [1, {"name": 2}]}'), (200, "<html>"), (404, "{}")],
)
async def test_what_is_no_ollama_is_not_taken_for_one(answer: dict[str, Any], status: int, text: str) -> None:
    answer |= {"status": status, "text": text}

    assert await chosen(OLLAMA_HOST=answer["host"]) == ("local", None)


def test_a_host_that_never_answers_costs_a_moment() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        probe = Probe({"OLLAMA_HOST": f"127.0.0.1:{silent.getsockname()[1]}"})

        assert probe.models() == ()
        assert time.monotonic() - begun < 4 * PROBE_SECONDS


def test_the_sentence_says_what_why_and_how_to_change_it(nothing: str) -> None:
    choice = choose({"OPENAI_API_KEY": "secret", "OLLAMA_HOST": nothing})

    assert choice.sentence == (
        "On gpt-5-mini (openai), because OPENAI_API_KEY is set; `hector init` writes a config.yaml to change that."
    )
