"""Events become chunks of a stream: text that is ready together is one chunk, every fact is one of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from google.protobuf.json_format import ParseDict

from app.domain.event import EventKind
from app.events.run import Run
from app.llm.base import unescape
from app.rpc.generated.hector_pb2 import MessageChunk

MOST = 1 << 20
"""Characters of text in a chunk. Clients refuse messages above 4 MiB, and a character can take three bytes."""

_ENDS = frozenset({EventKind.TURN_FINISHED, EventKind.SESSION_ENDED, EventKind.SESSION_TERMINATED})
_JSON_TEXT = ("arguments", "result", "preview", "choices", "schema")
"""Fields of any shape, which travel as JSON text: the numbers of google.protobuf.Value are floating."""
_PLAIN = EventKind.TEXT.value


def chunks_of(runs: Iterable[Run]) -> Iterator[MessageChunk]:
    """The chunks of consecutive runs, in order."""
    texts: list[bytes] = []
    size = last = 0
    for run in runs:
        if run.kind is EventKind.TEXT and size + run.size < MOST:
            texts.append(run.text)
            size, last = size + run.size, run.last
            continue
        if texts:
            yield MessageChunk(content=unescape(b"".join(texts)), type=_PLAIN, seq=last)
            texts, size = [], 0
        yield from _large_text(run) if run.kind is EventKind.TEXT else _other_chunks(run)
    if texts:
        yield MessageChunk(content=unescape(texts[0] if len(texts) == 1 else b"".join(texts)), type=_PLAIN, seq=last)


def piece_chunk(text: str, cursor: str) -> MessageChunk:
    """A piece of the answer for a reader that is paced; `cursor` is `41:12`, or `41` at the end of the event."""
    seq, _, offset = cursor.partition(":")
    if offset:
        return MessageChunk(content=text, type=_PLAIN, seq=int(seq) - 1, cursor=cursor)
    return MessageChunk(content=text, type=_PLAIN, seq=int(seq))


def reconnect_chunk(cursor: str) -> MessageChunk:
    """The reader is to come back with `cursor`, which is `41` or `41:12`."""
    seq, _, offset = cursor.partition(":")
    place = {"after": int(seq) - 1, "cursor": cursor} if offset else {"after": int(seq)}
    return MessageChunk(type=EventKind.RECONNECT.value, reconnect=place)


def _large_text(run: Run) -> Iterator[MessageChunk]:
    """An event of more than `MOST` in parts. What a reader has before its end is said by a cursor, as when paced."""
    for seq, chunk in run.numbered():
        text = unescape(chunk)
        for start in range(0, len(text), MOST):
            end = min(start + MOST, len(text))
            yield piece_chunk(text[start:end], f"{seq}:{end}" if end < len(text) else str(seq))


def _other_chunks(run: Run) -> Iterator[MessageChunk]:
    if run.count:  # thinking
        yield MessageChunk(content=unescape(run.text), type=run.kind.value, seq=run.last)
        return
    frame: dict[str, Any] = orjson.loads(run.payload)
    if run.kind is EventKind.SNAPSHOT and len(frame["text"]) > MOST:
        yield from _snapshot_chunks(run, frame)
        return
    chunk = MessageChunk(
        content=frame.pop("chunk", ""), type=frame.pop("type", run.kind.value), seq=run.last, done=run.kind in _ENDS
    )
    if run.kind is not EventKind.DEBUG:
        frame.setdefault("turn_id", run.turn_id)
        _fill(chunk, run.kind.value, frame)
    yield chunk


def _fill(chunk: MessageChunk, name: str, frame: dict[str, Any]) -> None:
    """The fields of a frame as the event `name` of the chunk; kinds that the proto file does not know have none."""
    if name not in MessageChunk.DESCRIPTOR.fields_by_name:
        return
    if name == EventKind.TOOL_CALL:
        frame |= frame.pop("tool")
    if name not in (EventKind.MEMORY, EventKind.SUMMARY):
        for field in _JSON_TEXT:
            if field in frame:
                frame[field] = orjson.dumps(frame[field]).decode()
    ParseDict(frame, getattr(chunk, name), ignore_unknown_fields=True)


def _snapshot_chunks(run: Run, frame: dict[str, Any]) -> Iterator[MessageChunk]:
    """Only the last part counts as read: who is cut before it gets the whole again, which replaces what it shows."""
    text: str = frame["text"]
    for start in range(0, len(text), MOST):
        is_last = start + MOST >= len(text)
        part = {
            "turn_id": frame["turn_id"] or "",
            "message_id": frame["message_id"],
            "text": text[start : start + MOST],
            "append": start > 0,
        }
        yield MessageChunk(type=run.kind.value, seq=run.last if is_last else run.first - 1, snapshot=part)
