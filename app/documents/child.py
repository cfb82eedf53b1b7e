"""The child process that lists folders and reads documents. `reading.py` starts it; it ends when its input closes.

A process and not a thread: parsers in Python would delay every stream of the server, a hostile file could keep one
busy without end or use all memory, and only a process can be killed. Runs at low priority.

    python -m app.documents.child

Reads one JSON object per line, answers with frames: four bytes of length, then JSON. The last frame of an answer has
`done` or `problem`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from app.documents.chunks import Chunk, cut
from app.documents.folders import open_beneath, scan
from app.documents.kinds import kind_of, read
from app.documents.section import Unreadable
from app.search.words import terms

Frame = dict[str, Any]

MAX_MEMORY = 2 << 30
"""Bytes of address space."""
BATCH = 100
"""Chunks or files per frame."""
FLUSH_SECONDS = 2.0
"""The longest time between two frames while a slow document still yields chunks."""


def answer(order: Frame) -> Iterator[Frame]:
    match order["do"]:
        case "scan":
            yield from _scan(order)
        case "read":
            try:
                yield from _read(order)
            except Unreadable as error:
                yield {"problem": str(error)}
            except FileNotFoundError:
                yield {"problem": "is gone", "is_gone": True}
            except OSError as error:
                yield {
                    "problem": f"cannot be opened: {(error.strerror or type(error).__name__).lower()}",
                    "again": True,
                }
            except MemoryError:
                yield {"problem": "needs too much memory to be read"}
            except Exception as error:  # whatever a malformed document makes a parser do
                yield {"problem": f"cannot be read: {type(error).__name__}"}


def _scan(order: Frame) -> Iterator[Frame]:
    problems: list[str] = []
    files: list[tuple[str, str, int, int]] = []
    limits = {"exclude": order["exclude"], "max_files": order["max_files"]}
    for found in scan(order["roots"], order["patterns"], **limits, problems=problems):
        files.append((found.path, found.root, found.size, found.mtime_ns))
        if len(files) == BATCH:
            yield {"files": files}
            files = []
    yield {"files": files, "problems": problems, "done": True}


def _read(order: Frame) -> Iterator[Frame]:
    path: str = order["path"]
    content, mtime_ns = _content(path, order["root"], order["max_bytes"])
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    opened = {"digest": digest, "size": len(content), "mtime_ns": mtime_ns}
    if digest in order["known"]:
        yield {**opened, "done": "known"}
        return
    yield opened
    kind = kind_of(path)
    problems: list[str] = []
    chunks: list[Chunk] = []
    sent_at = time.monotonic()
    for chunk in cut(read(kind, content, problems.append), size=order["chunk_size"], unit=kind.unit):
        chunks.append(chunk)
        if len(chunks) == BATCH or time.monotonic() - sent_at > FLUSH_SECONDS:
            yield {"chunks": [_as_json(chunk) for chunk in chunks]}
            chunks, sent_at = [], time.monotonic()
    yield {"chunks": [_as_json(chunk) for chunk in chunks], "done": "read", "partly": problems}


def _as_json(chunk: Chunk) -> tuple[str, int, str, str, str]:
    words = [*terms(chunk.heading), *terms(chunk.text)]
    return chunk.heading, chunk.position, chunk.text, " ".join(words), chunk.digest.hex()


def _content(path: str, root: str, max_bytes: int) -> tuple[bytes, int]:
    """The content of a file and its modification time."""
    with open(open_beneath(root, path), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is no file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise Unreadable(f"is larger than {max_bytes} bytes (max_file_size)")
    return content, status.st_mtime_ns


def _limit_resources() -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    except (ImportError, ValueError, OSError):  # not on every system
        pass


def _send(out: BinaryIO, frame: Frame) -> None:
    content = json.dumps(frame).encode()
    out.write(len(content).to_bytes(4, "big") + content)
    out.flush()


def main() -> None:
    # Libraries may print to stdout; only our own frames go to the parent's pipe.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_resources()
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            for frame in answer(json.loads(line)):
                _send(out, frame)
    os._exit(0)


if __name__ == "__main__":
    main()
