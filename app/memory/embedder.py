"""Embedder: texts into vectors. The seam, and the doubles and small ones; the embedded model is in minilm.py."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
import orjson

from app.llm.transport import AiohttpTransport, LeanClient
from app.memory.text import terms


@dataclass(frozen=True, slots=True)
class Embedding:
    """`vector`: a unit vector, float16, little-endian.

    `pieces`, for late interaction: the width in two bytes, then a row of int8 for each piece of the text.
    """

    vector: bytes
    pieces: bytes | None = None


class EmbeddingFailed(Exception):
    """The embedder could not embed; the sentence says why."""


class Embedder(Protocol):
    """`model` is stored with each vector: vectors of different models are never compared."""

    @property
    def model(self) -> str: ...

    @property
    def patience(self) -> float:
        """Seconds that a recall waits for a question's embedding before the words alone answer."""
        ...

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        """One embedding a text, in their order. A question does not wait behind a batch.

        Raises:
            EmbeddingFailed: nothing was embedded.
        """
        ...

    async def close(self) -> None: ...


def pack(values: Sequence[float]) -> bytes:
    """Numbers as a unit vector of float16."""
    length = math.sqrt(math.fsum([value * value for value in values])) or 1.0
    return struct.pack(f"<{len(values)}e", *[value / length for value in values])


class HashEmbedder:
    """Words thrown into places by their hash: no model, no meaning, the same everywhere. For tests."""

    model = "hash-64"
    patience = 0.020

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        return [Embedding(pack(_thrown(text))) for text in texts]

    async def close(self) -> None:
        pass


def _thrown(text: str) -> list[float]:
    places = [0.0] * 64
    for term in terms(text):
        number = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=2).digest(), "little")
        places[number % 64] += 1.0 if number & 64 else -1.0
    return places


class OpenAIEmbedder:
    """Any server with an OpenAI-compatible `/embeddings`. Belongs to one event loop."""

    patience = 0.200
    """A good server answers in 20 to 150 ms; without its answer there was no use in configuring it."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        api_key: str | None = None,
        dimension: int | None = None,
        connect_timeout: float = 10.0,
    ) -> None:
        self.model = f"{model}@{urlsplit(base_url).netloc}" + (f"/{dimension}" if dimension else "")
        self._name = model
        self._dimension = dimension
        self._url = base_url.rstrip("/") + "/embeddings"
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        secure = base_url.startswith("https:")
        self._client = LeanClient(AiohttpTransport(connect_timeout=connect_timeout, secure=secure))

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        # Some servers refuse an empty input; a space has no meaning either.
        body: dict[str, object] = {"model": self._name, "input": [text or " " for text in texts]}
        if self._dimension is not None:
            body["dimensions"] = self._dimension
        try:
            request = self._client.build_request("POST", self._url, content=orjson.dumps(body), headers=self._headers)
            response = await self._client.send(request)
            if response.status_code >= 300:
                raise EmbeddingFailed(f"{self._url} answered {response.status_code}")
            items = sorted(orjson.loads(response.content)["data"], key=lambda item: item["index"])
            found = [Embedding(pack(self._checked(item["embedding"]))) for item in items]
        except (httpx2.HTTPError, orjson.JSONDecodeError, KeyError, TypeError, struct.error, OverflowError) as error:
            raise EmbeddingFailed(f"{self._url} did not embed: {type(error).__name__}") from error
        if len(found) != len(texts):
            raise EmbeddingFailed(f"{self._url} sent {len(found)} vectors for {len(texts)} texts")
        return found

    def _checked(self, numbers: list[float]) -> list[float]:
        """Raises EmbeddingFailed: not as long as was asked for, or empty."""
        if self._dimension is not None and len(numbers) != self._dimension:
            raise EmbeddingFailed(
                f"{self._url} sends vectors of {len(numbers)} numbers, and {self._dimension} were asked for; "
                "set the embedder's dimension to what its model gives"
            )
        if not numbers:
            raise EmbeddingFailed(f"{self._url} sent an empty vector")
        return numbers

    async def close(self) -> None:
        await self._client.aclose()
