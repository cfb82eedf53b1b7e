"""Events as WebSocket messages: the objects of the SSE frames, with the number as `seq`, each in a text message.

A server's messages are not masked and not compressed, so they are bytes that one write can hold many of.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from app.domain.event import EventKind
from app.doors.pacing import Piece
from app.events.run import Run

_HEADS = [bytes((0x81, length)) for length in range(126)]
_NAMES_ITS_SESSION = frozenset(
    {EventKind.TURN_QUEUED, EventKind.TURN_STARTED, EventKind.SESSION_ENDED, EventKind.SESSION_TERMINATED}
)


def encode(run: Run, session: bytes = b"") -> bytes:
    """The messages of a run. `session`: what `session_field` gave, if the client has to be told whose they are."""
    if not run.count:
        named = b"" if run.kind in _NAMES_ITS_SESSION else session
        return _message(b'%b, "seq": %d%b}' % (run.payload[:-1], run.last, named))
    kind = b"" if run.kind is EventKind.TEXT else b', "type": "%b"' % run.kind.encode()
    if run.count == 1:
        return _message(b'{"chunk": "%b"%b, "seq": %d%b}' % (run.text, kind, run.last, session))
    parts = []
    form = b'{"chunk": "%%b"%b, "seq": %%d%b}' % (kind, session.replace(b"%", b"%%"))
    for seq, chunk in run.numbered():
        payload = form % (chunk, seq)
        size = len(payload)
        parts.append(_HEADS[size] if size < 126 else _head(size))
        parts.append(payload)
    run.pack()
    return b"".join(parts)


def encode_piece(piece: Piece, session: bytes = b"") -> bytes:
    """A piece of paced text: inside an event its `seq` is a text such as `"41:12"`."""
    seq = b'"%b"' % piece.cursor if piece.offset else piece.cursor
    return _message(b'{"chunk": %b, "seq": %b%b}' % (orjson.dumps(piece.text), seq, session))


def encode_object(shown: Mapping[str, object]) -> bytes:
    """An answer of this door, which no event is."""
    return _message(orjson.dumps(shown))


def session_field(session_id: str) -> bytes:
    return b', "session_id": %b' % orjson.dumps(session_id)


def _message(payload: bytes) -> bytes:
    size = len(payload)
    return (_HEADS[size] if size < 126 else _head(size)) + payload


def _head(size: int) -> bytes:
    """FIN, text, and the length (RFC 6455, 5.2)."""
    if size < 126:
        return _HEADS[size]
    return b"\x81\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x81\x7f" + size.to_bytes(8, "big")
