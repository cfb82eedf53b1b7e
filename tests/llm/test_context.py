"""How much a model takes in: asked once and late, known by name, learnt from a refusal, otherwise assumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.config.llm import LLMConfig
from app.llm import context as context_module
from app.llm.base import LLM, LLMError, LLMRequest
from app.llm.build import build_llm
from app.llm.context import Context, ContextWindow, Told
from app.llm.known_contexts import known_context
from tests.fixtures.upstream import Reply, Upstream

MAIN: dict[str, Any] = {"type": "vllm", "model": "m", "max_retries": 0}


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def make(upstream: Upstream) -> AsyncIterator[Any]:
    made: list[LLM] = []

    def make(**config: Any) -> LLM:
        made.append(build_llm("main", LLMConfig.model_validate(MAIN | {"host": upstream.base_url} | config)))
        return made[-1]

    yield make
    for llm in made:
        await llm.close()


def says(body: object, **reply: Any) -> Reply:
    return Reply(raw=[orjson.dumps(body)], headers={"Content-Type": "application/json"}, **reply)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o", 128_000),
        ("openai/gpt-4o-mini", 128_000),
        ("ft:gpt-4o-mini:acme::1", 128_000),
        ("gpt-4", 8_192),
        ("gpt-4.1-nano", 1_047_576),
        ("gpt-5-mini", 400_000),
        ("o3-mini", 200_000),
        ("claude-sonnet-4-5", 200_000),
        ("gemini-2.5-flash", 1_048_576),
        ("meta-llama/llama-3.3-70b-instruct", 131_072),
        ("llama3.2", 131_072),
        ("meta-llama-3-70b", 8_192),
        ("gpt-400", None),
        ("my-model", None),
    ],
)
def test_hosted_models_are_known_by_name(model: str, tokens: int | None) -> None:
    assert known_context(model) == tokens


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"type": "openai", "model": "gpt-4o", "host": None}, Context(128_000, "known")),
        ({"type": "openai", "model": "gpt-4o", "context_window": 9000}, Context(9000, "configured")),
        ({"type": "vllm", "model": "gpt-4o"}, Context(8192, "assumed")),
        ({"type": "local", "model": None, "host": None}, Context(8192, "embedded")),
        ({"type": "local", "model": "other.gguf", "host": None}, Context(8192, "usual")),
        ({"type": "local", "model": None, "host": None, "context_window": 2048}, Context(2048, "configured")),
        ({"type": "scripted", "model": None, "host": None}, Context(8192, "assumed")),
    ],
)
async def test_what_is_known_before_anybody_is_asked(make: Any, config: dict[str, Any], expected: Context) -> None:
    assert make(**config).context.known == expected


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "m", "max_model_len": 32_000},
        {"id": "served", "root": "m", "max_model_len": 32_000},
        {"id": "m", "context_length": 64_000, "top_provider": {"context_length": 32_000}},
        {"id": "m", "meta": {"n_ctx": 32_000, "n_ctx_train": 131_072}},
        {"id": "alone", "context_window": 32_000},
    ],
)
async def test_a_list_of_models_tells_it(make: Any, upstream: Upstream, entry: dict[str, Any]) -> None:
    others = [] if entry["id"] == "alone" else [{"id": "other", "max_model_len": 4096}, "nonsense"]
    upstream.default = says({"object": "list", "data": [*others, entry]})
    llm = make(api_key="sk-secret")
    assert await llm.context.find() == await llm.context.find() == Context(32_000, "provider")
    [request] = upstream.requests
    assert request.target == "/v1/models"
    assert request.headers["authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    "reply",
    [
        says({"object": "list", "data": [{"id": "m"}]}),
        says({"object": "list", "data": [{"id": "m", "max_model_len": "32000"}, {"id": "other", "max_model_len": 1}]}),
        says({"object": "list", "data": [{"id": "m", "max_model_len": -1}]}),
        says({"data": {"m": 5}}),
        says([1, 2]),
        Reply(),
        Reply(status=404, body=b"{}"),
        Reply(raw=[b"<html>"]),
        Reply(raw=[b'{"data": [{"id": "m", "max_model_len": 32000, "x": "', b"x" * 5_000_000, b'"}]}']),
        Reply(status=500, body=b"broken"),
    ],
)
async def test_what_is_no_answer_leaves_the_assumed_size(make: Any, upstream: Upstream, reply: Reply) -> None:
    upstream.default = reply
    llm = make()
    assert await llm.context.find() == await llm.context.find() == Context(8192, "assumed")
    assert len(upstream.requests) == 1, "it is not asked again at once"


async def test_a_provider_that_hangs_is_waited_for_once(
    make: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "ASK_SECONDS", 0.05)
    upstream.default = Reply(hang="before_headers")
    llm = make()
    found = await asyncio.gather(*[llm.context.find() for _ in range(5)])
    assert set(found) == {Context(8192, "assumed")}
    assert len(upstream.requests) == 1


async def test_nobody_is_asked_where_the_configuration_or_the_name_says_it(make: Any, upstream: Upstream) -> None:
    for config in ({"context_window": 9000}, {"type": "openai", "model": "gpt-4o", "api_key": "k"}):
        await make(**config).context.find()
    assert upstream.requests == []


RUNNING = {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "context_length": 4096}]}
SHOWN = {"model_info": {"general.architecture": "llama", "llama.context_length": 131_072}}


@pytest.mark.parametrize(
    ("replies", "tokens", "targets"),
    [
        ([says(RUNNING)], 4096, ["/api/ps"]),
        (
            [says({"models": []}), says(SHOWN | {"parameters": "stop  x\nnum_ctx   16384"})],
            16_384,
            ["/api/ps", "/api/show"],
        ),
        ([says({"models": [{"model": "llama3.2:latest"}]}), says(SHOWN)], 4096, ["/api/ps", "/api/show"]),
        ([Reply(status=404, body=b""), says(SHOWN)], 131_072, ["/api/ps", "/api/show"]),
    ],
)
async def test_ollama_tells_what_it_loads_a_model_with(
    make: Any, upstream: Upstream, replies: list[Reply], tokens: int, targets: list[str]
) -> None:
    upstream._replies.extend(replies)
    assert await make(type="ollama", model="llama3.2").context.find() == Context(tokens, "provider")
    assert [request.target for request in upstream.requests] == targets


async def test_ollama_is_asked_again_once_the_model_is_loaded(make: Any, upstream: Upstream) -> None:
    upstream._replies.extend([says({"models": []}), says(SHOWN), says(RUNNING)])
    llm = make(type="ollama", model="llama3.2")
    assert (await llm.context.find()).tokens == 131_072
    assert (await llm.context.find()).tokens == 4096
    assert llm.context.is_settled


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 8020 tokens",
        "request (9000 tokens) exceeds the available context size (4,096 tokens), try increasing it",
        "prompt is too long: 5000 tokens > 4096 maximum",
        "`inputs` tokens + `max_new_tokens` must be <= 4096; input is too long",
    ],
)
async def test_a_refusal_teaches_the_size_of_the_context(make: Any, upstream: Upstream, words: str) -> None:
    upstream.default = Reply(status=400, body=orjson.dumps({"error": {"message": words}}))
    llm = make()
    with pytest.raises(LLMError, match=r"set llms\.main\.context_window \(now 4096, refusal\)"):
        await llm.stream(LLMRequest([b'{"role":"user","content":"hello"}'])).read()
    assert llm.context.known == Context(4096, "refusal")
    assert llm.context.is_settled


def test_a_refusal_never_beats_the_configuration_and_never_raises_the_size() -> None:
    for start in (Context(2048, "configured"), Context(2048, "assumed")):
        window = ContextWindow(start)
        window.learn("maximum context length is 4096 tokens")
        window.learn("maximum context length is 7 tokens")
        window.learn("no figure in here")
        assert window.known is start


async def test_an_answer_that_may_change_is_kept_until_it_does() -> None:
    answers = iter([Told(4096, is_final=False), None])

    async def ask() -> Told | None:
        return next(answers)

    window = ContextWindow(Context(8192, "assumed"), ask=ask)
    assert await window.find() == Context(4096, "provider")
    assert await window.find() == Context(4096, "provider")


def test_a_small_window_leaves_room_for_the_answer() -> None:
    openai = {"type": "openai", "model": "m"}
    assert LLMConfig.model_validate(openai | {"context_window": 4096}).max_tokens == 1024
    assert LLMConfig.model_validate(openai | {"context_window": 4096, "max_tokens": 3000}).max_tokens == 3000
    assert LLMConfig.model_validate(openai | {"context_window": 400_000}).max_tokens == 8000
    assert LLMConfig.model_validate({"type": "vllm", "model": "m", "context_window": 4096}).max_tokens is None
