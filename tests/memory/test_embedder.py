"""Embedders: the OpenAI-compatible one against a real server, the embedded one against known neighbours."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from app.memory import minilm, wordpiece
from app.memory.embedder import Embedding, EmbeddingFailed, HashEmbedder, OpenAIEmbedder, pack
from app.memory.minilm import MiniLM
from app.memory.wordpiece import WordPiece


def numbers(embedding: Embedding) -> tuple[float, ...]:
    return struct.unpack(f"<{len(embedding.vector) // 2}e", embedding.vector)


def likeness(one: Embedding, other: Embedding) -> float:
    return sum(a * b for a, b in zip(numbers(one), numbers(other), strict=True))


def test_vectors_are_unit_vectors_of_two_bytes_a_number() -> None:
    assert struct.unpack("<2e", pack([3.0, 4.0])) == pytest.approx((0.6, 0.8), abs=1e-3)
    assert pack([0.0, 0.0]) == bytes(4)


async def test_the_hash_embedder_gives_the_same_words_the_same_vector() -> None:
    one, other, third = await HashEmbedder().embed(["A dog!", "the dog", "trains"])
    assert likeness(one, other) == pytest.approx(1, abs=1e-2)
    assert likeness(one, third) < 0.5


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


async def test_damaged_weights_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "SHA256", "0" * 64)
    embedder = MiniLM()
    with pytest.raises(EmbeddingFailed, match="not the file it should be"):
        await embedder.embed(["one"])
    await embedder.close()


async def test_a_server_that_is_not_there_has_failed() -> None:
    embedder = OpenAIEmbedder(model="small", base_url="http://127.0.0.1:9")
    with pytest.raises(EmbeddingFailed):
        await embedder.embed(["one"])
    await embedder.close()


def test_wordpiece_cuts_as_berts_uncased_models_do() -> None:
    encoded = WordPiece().encode("Hello, wörld! I'm embedding unaffable.", limit=128)
    assert encoded == [101, 7592, 1010, 2088, 999, 1045, 1005, 1049, 7861, 8270, 4667, 14477, 20961, 3468, 1012, 102]


def test_wordpiece_keeps_to_its_limit() -> None:
    assert len(WordPiece().encode("word " * 500, limit=128)) == 128
    assert WordPiece().encode("", limit=128) == [wordpiece.START, wordpiece.END]


def test_the_pieces_that_say_something_are_known() -> None:
    tokenizer = WordPiece()
    assert tokenizer.places_that_say("What about unaffable?", frozenset({"what", "about"}), limit=128) == [3, 4, 5]
    assert tokenizer.places_that_say("What?", frozenset({"what"}), limit=128) == [1, 2]


async def test_the_embedded_model_knows_what_is_alike() -> None:
    embedder = MiniLM()
    dog, pet, train = await embedder.embed(["My dog sleeps", "The puppy takes a nap", "The train was late"])
    (question,) = await embedder.embed(["Is the pet asleep?"], is_query=True)
    await embedder.close()
    assert likeness(question, dog) > likeness(question, train)
    assert likeness(dog, pet) > likeness(dog, train)
    assert len(dog.vector) == 2 * 384
    assert dog.pieces is not None
    assert question.pieces is not None
    assert len(dog.pieces) == 2 + 2 * 384  # "my" says nothing
    assert len(question.pieces) == 2 + 2 * 384  # "is", "the" and "?" say nothing
