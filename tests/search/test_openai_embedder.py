"""The OpenAI-compatible embedder against a real server."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from app.llm import transport
from app.search.embedder import EmbeddingFailed
from app.search.openai_embedder import OpenAIEmbedder
from tests.fixtures.upstream import Upstream
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
    [
        (2, [1, 2, 3], "vectors of 3 numbers, and 2 were asked for"),
        (None, [], "empty vector"),
        (None, [0.5] * 20_000, "vectors of 20000 numbers; the most is 16384"),
    ],
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


async def test_vectors_of_several_lengths_are_refused(
    server: tuple[str, list[dict[str, object]], list[object]],
) -> None:
    url, _, answers = server
    answers.append({"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2, 3]}]})
    embedder = OpenAIEmbedder(model="small", base_url=url)
    with pytest.raises(EmbeddingFailed, match=r"several lengths: \[2, 3\]"):
        await embedder.embed(["one", "other"])
    await embedder.close()


async def test_a_vector_of_another_length_than_before_is_refused_until_it_comes_again(
    server: tuple[str, list[dict[str, object]], list[object]],
) -> None:
    url, _, answers = server
    for vector in ([1, 0], [1, 0, 0], [1, 0], [1, 0], [1, 0, 0], [1, 0, 0]):
        answers.append({"data": [{"index": 0, "embedding": vector}]})
    embedder = OpenAIEmbedder(model="small", base_url=url)
    told: list[int | None] = []
    for _ in range(6):
        try:
            told.append(len(numbers((await embedder.embed(["one"]))[0])))
        except EmbeddingFailed:
            told.append(None)
    await embedder.close()
    assert told == [2, None, None, 2, None, 3]


async def test_user_and_password_of_the_address_are_sent_but_never_shown(
    server: tuple[str, list[dict[str, object]], list[object]],
) -> None:
    url, asked, answers = server
    answers += [{"data": [{"index": 0, "embedding": [1, 0]}]}, 500]
    embedder = OpenAIEmbedder(model="small", base_url=url.replace("//", "//ann:secret@"))
    await embedder.embed(["one"])
    assert asked[0]["key"] == "Basic YW5uOnNlY3JldA=="
    assert embedder.model == f"small@{url.removeprefix('http://').partition('/')[0]}"
    with pytest.raises(EmbeddingFailed) as caught:
        await embedder.embed(["one"])
    assert "secret" not in str(caught.value)
    await embedder.close()


async def test_a_query_of_the_address_stays_behind_the_path() -> None:
    async with Upstream() as upstream:
        upstream.answer(body=b'{"data": [{"index": 0, "embedding": [1, 0]}]}')
        embedder = OpenAIEmbedder(model="small", base_url=upstream.base_url + "?api-version=1")
        await embedder.embed(["one"])
        await embedder.close()
        assert upstream.requests[0].target == "/v1/embeddings?api-version=1"


@pytest.mark.parametrize("is_packed", [False, True])
async def test_an_answer_without_end_fails_before_memory_is_full(
    is_packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 2**20)
    body = b'{"data": [' + b'{"index": 0, "embedding": [1, 0]},' * 100_000
    headers = {"Content-Encoding": "gzip"} if is_packed else {}
    async with Upstream() as upstream:
        upstream.answer(body=gzip.compress(body) if is_packed else body, headers=headers)
        embedder = OpenAIEmbedder(model="small", base_url=upstream.base_url)
        with pytest.raises(EmbeddingFailed, match="larger than 1 MiB"):
            await embedder.embed(["one"])
        await embedder.close()
