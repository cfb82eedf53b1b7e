"""Answers in JSON over HTTP: the value of an answer, the refusal of what is no format, and every door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.config.root import Config
from app.llm.scripted import Answer, ScriptedLLM
from app.main import create_app
from app.runtime import Runtime
from tests.fixtures.talk import good

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GOOD = '{"city": "Ulm"}'
FENCED = f"```json\n{GOOD}\n```"
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
MODELS = {
    "words": ScriptedLLM("words", [Answer(FENCED)]),
    "cities": ScriptedLLM("cities", [Answer("Ulm."), Answer(GOOD)]),
    "stubborn": ScriptedLLM("stubborn", [Answer("Ulm.")]),
}


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    config = Config.model_validate(
        {
            "storage": {"url": f"sqlite:///{tmp_path}/h.db"},
            "server": {"max_metadata": "1KiB"},
            "llms": {
                "words": {"type": "scripted"},
                "cities": {"type": "scripted", "structured_output": CITY},
                "stubborn": {"type": "scripted"},
            },
            "embedders": {"default": {"type": "none"}},
            "agents": {name: {"llm": name, "tools": []} for name in MODELS},
        }
    )
    runtime = Runtime(config, llms=dict(MODELS))
    await runtime.open()
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    await runtime.close()


async def session(client: httpx.AsyncClient, agent: str) -> str:
    made = good(await client.post(f"/agents/{agent}/sessions", json={}))
    return f"/agents/{agent}/sessions/{made['session_id']}"


async def test_a_caller_that_waits_gets_the_value_beside_the_text(client: httpx.AsyncClient) -> None:
    path = await session(client, "words")
    for where in (f"{path}/messages", "/agents/words/messages", f"{path}/regenerate"):
        shown = good(await client.post(where, json={"message": "Which city?", "response_format": FORMAT}))
        assert (shown["response"], shown["output"]) == (FENCED, {"city": "Ulm"})
    shown = good(await client.post(f"{path}/messages", json={"message": "Which city?"}))
    assert shown["response"] == FENCED
    assert "output" not in shown


async def test_the_model_s_own_schema_holds_for_every_door(client: httpx.AsyncClient) -> None:
    path = await session(client, "cities")
    shown = good(await client.post(f"{path}/messages", json={"message": "Which city?"}))
    assert (shown["response"], shown["output"]) == (GOOD, {"city": "Ulm"})
    page = good(await client.get(f"{path}/messages"))["messages"]
    assert [(one["status"], one["content"]) for one in page][1:] == [("replaced", "Ulm."), ("completed", GOOD)]
    words = {"message": "In words", "response_format": {"type": "text"}}
    shown = good(await client.post(f"{path}/messages", json=words))
    assert shown["response"] == "Ulm."
    assert "output" not in shown


async def test_a_stream_ends_with_the_answer_that_fits(client: httpx.AsyncClient) -> None:
    path = await session(client, "cities")
    streamed = (await client.post(f"{path}/messages/stream", json={"message": "Which city?"})).text
    page = good(await client.get(f"{path}/messages"))["messages"]
    assert f'"message_id":"{page[-1]["message_id"]}"' in streamed.replace('": ', '":').splitlines()[-4]
    assert page[-1]["content"] == GOOD


async def test_an_answer_that_never_fits_is_the_model_s_failure(client: httpx.AsyncClient) -> None:
    path = await session(client, "stubborn")
    refused = await client.post(f"{path}/messages", json={"message": "Which city?", "response_format": FORMAT})
    assert refused.status_code == 502
    error = refused.json()["error"]
    assert (error["reason"], error["details"]["partial"]) == ("llm_error", "Ulm.")
    assert "it is no JSON" in error["message"]


@pytest.mark.parametrize(
    ("given", "status", "problem"),
    [
        ({"type": "xml"}, 422, "response_format: type: must be text, json_object or json_schema"),
        ({"type": "json_schema", "schema": {"type": "objekt"}}, 422, "response_format: schema: is no JSON schema"),
        ({"type": "json_schema", "schema": {"title": "x" * 1024}}, 413, "response_format: larger than 1024 bytes"),
        ("json", 422, "response_format: "),
    ],
)
async def test_what_is_no_format_is_refused(client: httpx.AsyncClient, given: Any, status: int, problem: str) -> None:
    path = await session(client, "words")
    refused = await client.post(f"{path}/messages", json={"message": "Which city?", "response_format": given})
    assert refused.status_code == status
    assert refused.json()["error"]["message"].startswith(problem)
    assert good(await client.get(f"{path}/messages"))["messages"] == []


async def test_another_format_is_another_body_for_a_key(client: httpx.AsyncClient) -> None:
    path, headers = await session(client, "words"), {"Idempotency-Key": "k"}
    body = {"message": "Which city?", "response_format": FORMAT}
    first = good(await client.post(f"{path}/messages", json=body, headers=headers))
    again = good(await client.post(f"{path}/messages", json=body, headers=headers))
    assert (again["turn_id"], again["output"]) == (first["turn_id"], {"city": "Ulm"})
    for other in ({"type": "json_object"}, None):
        changed = {**body, "response_format": other}
        refused = await client.post(f"{path}/messages", json=changed, headers=headers)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (409, "idempotency_conflict")
