"""`/embeddings`: vectors from the embedder that memories are found by."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from app.compat.openai.errors import invalid
from app.domain.errors import ModelFailed, NotFound
from app.doors.answers import answer
from app.doors.json_route import parse, read_body
from app.llm import tokens
from app.runtime import Runtime
from app.search.embedder import EmbeddingFailed


class CreateEmbeddings(BaseModel):
    """The fields that mean something here; others are ignored."""

    model: str
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


async def embed(runtime: Runtime, request: Request) -> ASGIApp:
    """Raises: NotFound, another model than ours; ModelFailed."""
    body = parse(await read_body(request.scope, request.receive, runtime.config.server.max_body), CreateEmbeddings)
    embedder = runtime.embedder
    if embedder is None:
        raise NotFound("This server has no embedder; see the section embedders.", reason="not_found")
    if body.model not in (embedder.model, *runtime.config.embedders):
        names = ", ".join([repr(name) for name in (embedder.model, *runtime.config.embedders)])
        raise NotFound(
            f"The embedder is called {names}, not {body.model[:80]!r}.",
            reason="agent_not_found",
            details={"problems": [{"field": "model"}]},
        )
    texts = _texts(body.input, runtime.config.compat.openai.max_embedding_texts)
    try:
        vectors = [_numbers(found.vector) for found in await embedder.embed(texts)]
    except EmbeddingFailed as error:
        raise ModelFailed(str(error)) from error
    if body.dimensions is not None and vectors and body.dimensions != len(vectors[0]):
        raise invalid("dimensions", f"this model gives {len(vectors[0])}")
    used = await asyncio.to_thread(lambda: sum([tokens.count(text) for text in texts]))
    return answer(
        {
            "object": "list",
            "model": body.model,
            "data": [
                {"object": "embedding", "index": place, "embedding": _shown(vector, body.encoding_format)}
                for place, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
    )


def _texts(given: str | list[Any], most: int) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not 0 < len(texts) <= most:
        raise invalid("input", f"must have 1 to {most} texts (compat.openai.max_embedding_texts)")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise invalid(f"input[{place}]", "must be a text; numbers of tokens are not taken")
    return texts


def _numbers(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 2}e", vector))


def _shown(vector: list[float], encoding: str | None) -> list[float] | str:
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
