"""The embedded model against texts whose similarity is known."""

from __future__ import annotations

import pytest

from app.search import minilm
from app.search.embedder import EmbeddingFailed
from app.search.minilm import MiniLM
from tests.search.vectors import likeness


async def test_damaged_weights_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "SHA256", "0" * 64)
    embedder = MiniLM()
    with pytest.raises(EmbeddingFailed, match="not the expected file"):
        await embedder.embed(["one"])
    await embedder.close()


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
