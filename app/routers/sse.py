"""SSE: how events look on a server-sent events stream. Made once for a run and shared by all its readers.

The form is that of the contract: `id: N`, one JSON object with `chunk` in `data:`, a blank line.
"""

from __future__ import annotations

from app.domain.event import Event, EventKind
from app.events.run import Run, fact_json

DONE = b"data: [DONE]\n\n"
NAMED_DONE = b"event: done\ndata: [DONE]\n\n"
"""On GET the mark is a named event: `JSON.parse` in an `onmessage` never meets it."""
OPENING = b"retry: 1000\n\n"


def encode(run: Run) -> bytes:
    """The frames of a run. Escaped text goes into them as it came from the model."""
    encoded = run.encoded
    if encoded is None:
        encoded = run.encoded = _encode(run)
    return encoded


def frame(event: Event) -> bytes:
    """An event for one reader, which has no number."""
    return b"data: %b\n\n" % fact_json(event)


def _encode(run: Run) -> bytes:
    if run.chunks is None:
        return b"id: %d\ndata: %b\n\n" % (run.last, run.payload)
    if run.kind is not EventKind.TEXT:
        form = b'id: %%d\ndata: {"chunk": "%%b", "type": "%b"}\n\n' % run.kind.encode()
        return b"".join([form % numbered for numbered in run.numbered()])
    if len(run.chunks) == 1:
        return b'id: %d\ndata: {"chunk": "%b"}\n\n' % (run.last, run.chunks[0])
    return b"".join([b'id: %d\ndata: {"chunk": "%b"}\n\n' % numbered for numbered in run.numbered()])
