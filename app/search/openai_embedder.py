"""OpenAIEmbedder: vectors from a server that speaks the OpenAI dialect."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

import httpx2
import orjson

from app.config.address import key_header
from app.llm.transport import AiohttpTransport, LeanClient
from app.search.embedder import Embedding, EmbeddingFailed, pack

MAX_NUMBERS = 16_384
"""Of a vector: four times as many as today's largest models give."""


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
        base = httpx2.URL(base_url)
        # Stored with each vector and shown to users: neither user nor password belong there.
        self.model = f"{model}@{base.netloc.decode()}" + (f"/{dimension}" if dimension else "")
        self._name = model
        self._dimension = dimension
        self._length: int | None = None
        self._url = str(base.copy_with(userinfo=b"", path=base.path.rstrip("/") + "/embeddings"))
        self._place = str(base.copy_with(userinfo=b"", query=None))
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers |= key_header(api_key, base_url)
        elif base.userinfo:
            credentials = base64.b64encode(f"{base.username}:{base.password}".encode()).decode()
            self._headers["authorization"] = f"Basic {credentials}"
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
                raise EmbeddingFailed(f"{self._place} answered {response.status_code}")
            items = sorted(orjson.loads(response.content)["data"], key=lambda item: item["index"])
            vectors = [item["embedding"] for item in items]
            self._check(vectors, len(texts))
            return [Embedding(pack(vector)) for vector in vectors]
        except httpx2.HTTPError as error:
            raise EmbeddingFailed(f"{self._place} did not embed: {str(error) or type(error).__name__}") from error
        except (orjson.JSONDecodeError, KeyError, TypeError, struct.error, OverflowError) as error:
            raise EmbeddingFailed(f"{self._place} did not embed: {type(error).__name__}") from error

    def _check(self, vectors: list[list[float]], count: int) -> None:
        """Raise EmbeddingFailed unless there are `count` vectors, all of the length that is expected.

        That is the configured one, else the last answer's: a single odd answer is refused, and a server whose model
        changed is accepted from its second answer on.
        """
        if len(vectors) != count:
            raise EmbeddingFailed(f"{self._place} sent {len(vectors)} vectors for {count} texts")
        lengths = {len(vector) for vector in vectors}
        if 0 in lengths:
            raise EmbeddingFailed(f"{self._place} sent an empty vector")
        if len(lengths) > 1:
            raise EmbeddingFailed(f"{self._place} sent vectors of several lengths: {sorted(lengths)}")
        length = lengths.pop() if lengths else None
        if length is not None and length > MAX_NUMBERS:
            raise EmbeddingFailed(f"{self._place} sent vectors of {length} numbers; the most is {MAX_NUMBERS}")
        if self._dimension is not None and length not in (None, self._dimension):
            raise EmbeddingFailed(
                f"{self._place} sends vectors of {length} numbers, and {self._dimension} were asked for; "
                "set the embedder's dimension to what its model gives"
            )
        before, self._length = self._length, length or self._length
        if before is not None and length not in (None, before):
            raise EmbeddingFailed(f"{self._place} sent vectors of {length} numbers, and of {before} before")

    async def close(self) -> None:
        await self._client.aclose()
