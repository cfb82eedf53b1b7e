"""OpenAIEmbedder: vectors from a server that speaks the OpenAI dialect."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx2
import orjson

from app.llm.transport import AiohttpTransport, LeanClient
from app.search.embedder import Embedding, EmbeddingFailed, pack


class OpenAIEmbedder:
    """Calls any server with an OpenAI-compatible `/embeddings` endpoint. Belongs to one event loop."""

    patience = 0.200
    """Seconds. A good server answers in 20 to 150 ms; a shorter wait would make the configured embedder useless."""

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
        # Some servers reject an empty input; a space carries no meaning either.
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
        """Raises EmbeddingFailed if the vector is empty or not of the configured dimension."""
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
