"""The OpenAI-compatible embedder against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from app.search.embedder import EmbeddingFailed
from app.search.openai_embedder import OpenAIEmbedder
from tests.search.vectors import numbers


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[dict[str, object]], list[object]]]:
    asked: list[dict[str, object]] = []
    answers: list[object] = []

    async def embeddings(request: web.Request) -> web.Response:
        asked.append(await request.json() | {"key": request.headers.get("authorization")})
        answer = answers.pop(0)
        return web.Response(status=answer) if isinstance(answer, int) else web.json_response(answer)

    application = web.Application()
    application.router.add_post("/v1/embeddings", embeddings)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/v1", asked, answers
    await runner.cleanup()


async def test_an_openai_compatible_server_embeds(server: tuple[str, list[dict[str, object]], list[object]]) -> None:
    url, asked, answers = server
    answers.append({"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [2, 0]}]})
    embedder = OpenAIEmbedder(model="small", base_url=url, api_key="k", dimension=2)
    one, other = await embedder.embed(["one", ""])
    await embedder.close()
    assert (numbers(one), numbers(other)) == ((1, 0), (0, 1))
    assert asked == [{"model": "small", "input": ["one", " "], "dimensions": 2, "key": "Bearer k"}]


@pytest.mark.parametrize("answer", [500, {"data": []}, {"error": "no"}, {"data": [{"index": 0, "embedding": ["x"]}]}])
async def test_a_server_that_answers_wrongly_has_failed(
    server: tuple[str, list[dict[str, object]], list[object]], answer: object
) -> None:
    url, _, answers = server
    answers.append(answer)
    embedder = OpenAIEmbedder(model="small", base_url=url)
    with pytest.raises(EmbeddingFailed):
        await embedder.embed(["one"])
    await embedder.close()


@pytest.mark.parametrize(
    ("dimension", "sent", "sentence"),
    [(2, [1, 2, 3], "vectors of 3 numbers, and 2 were asked for"), (None, [], "empty vector")],
)
async def test_a_vector_that_was_not_asked_for_is_refused(
    server: tuple[str, list[dict[str, object]], list[object]], dimension: int | None, sent: list[float], sentence: str
) -> None:
    url, _, answers = server
    answers.append({"data": [{"index": 0, "embedding": sent}]})
    embedder = OpenAIEmbedder(model="small", base_url=url, dimension=dimension)
    try:
        with pytest.raises(EmbeddingFailed, match=sentence):
            await embedder.embed(["one"])
    finally:
        await embedder.close()


async def test_a_server_that_is_not_there_has_failed() -> None:
    embedder = OpenAIEmbedder(model="small", base_url="http://127.0.0.1:9")
    with pytest.raises(EmbeddingFailed):
        await embedder.embed(["one"])
    await embedder.close()
