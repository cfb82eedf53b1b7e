"""Accepting a message over HTTP: hops 1 to 3, the same for waiting, background and streaming callers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from starlette.requests import Request
from starlette.types import Receive, Scope

from app.agents import Agent
from app.domain.errors import InvalidRequest, TooLarge
from app.domain.turn import OnBusy, Turn
from app.events.follow import Reading
from app.events.log import SessionLog
from app.routers.json_route import parse, read_body
from app.routers.schemas.messages import Regenerate, SendMessage
from app.runtime import Runtime, grace_of
from app.turns.desk import Ask, OpenTurn

MAX_KEY = 200
TRUE = frozenset({"1", "true", "yes", "on"})

_CURSOR = re.compile(r"([0-9]{1,18})(?::([0-9]{1,9}))?")

Cursor = tuple[int, tuple[int, int] | None]
"""(events the reader has whole, (event, characters) it has in part)."""


@dataclass(slots=True)
class Accepted:
    """A message that may be sent. Enter `reading` first (its count keeps the turn's grace from running), then `start`.

    For a background message the reading is made but must not be entered.
    """

    runtime: Runtime
    log: SessionLog
    agent: Agent
    ask: Ask
    background: bool
    on_busy: OnBusy | None
    reading: Reading
    key: str | None
    is_one_shot: bool
    debug: bool
    text_only: bool
    attached: OpenTurn | Turn | None
    cursor: Cursor | None

    async def start(self) -> OpenTurn | Turn:
        """The turn of this message: begun, queued, or found by its key or cursor. Sets the reading's cursor."""
        turn = self.attached or await self._begin()
        first = turn.after if isinstance(turn, OpenTurn) else turn.first_seq - 1
        self.reading.cursor = max(first, self.cursor[0]) if self.attached and self.cursor else first
        return turn

    async def _begin(self) -> OpenTurn | Turn:
        streaming = self.agent.config.streaming
        turn = await self.runtime.turns.start(
            self.log,
            self.agent,
            self.ask,
            background=self.background,
            on_busy=self.on_busy,
            key=self.key,
            grace_seconds=0.0 if self.is_one_shot else grace_of(streaming.disconnect_grace),
            debug=self.debug,
        )
        return await self.runtime.history.find(self.log, turn) if isinstance(turn, str) else turn


class Door(Enum):
    """What a POST asks for."""

    MESSAGE = "message"
    ONE_SHOT = "one_shot"
    REGENERATE = "regenerate"


async def accept(
    runtime: Runtime, scope: Scope, receive: Receive, door: Door, *, given: bytes | None = None
) -> Accepted:
    """Who asks, which session, what body (`given` if it was read already).

    Raises: anything of the error table; nothing was stored.
    """
    request = Request(scope)
    agent = runtime.roster.get(scope["path_params"]["agent"])
    principal = scope["principal"]
    if given is None:
        given = await read_body(scope, receive, runtime.config.server.max_body)
    log: SessionLog | None = None
    if door is not Door.ONE_SHOT:
        log = await runtime.sessions.get(principal, agent.name, scope["path_params"]["session_id"])
        runtime.turns.check_accepts(log)
    body: SendMessage | Regenerate
    body = parse(given, Regenerate) if door is Door.REGENERATE else parse(given, SendMessage)
    if isinstance(body, SendMessage):
        check_length(runtime, body.message)
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise InvalidRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
    if log is None:
        log = await runtime.sessions.one_shot(principal, agent.name, key)
    ask = (
        Ask(body.message, body.instructions)
        if isinstance(body, SendMessage)
        else await runtime.history.again(log, body.message_id, body.instructions)
    )
    cursor = cursor_of(request.headers.get("last-event-id"), log)
    attached = await runtime.history.find_at(log, cursor[0] + 1, ask.text) if cursor is not None else None
    reading = runtime.read(log, after=log.last_seq, merge=not is_paced(agent))
    return Accepted(
        runtime,
        log,
        agent,
        ask,
        body.background,
        body.on_busy if isinstance(body, SendMessage) else None,
        reading,
        key,
        door is Door.ONE_SHOT,
        debug=scope["query_string"] != b"" and flag(request, "debug"),
        text_only=scope["query_string"] != b"" and wants_text(request),
        attached=attached,
        cursor=cursor,
    )


def check_length(runtime: Runtime, text: str) -> None:
    longest = runtime.config.server.max_message
    if len(text) > longest:
        raise TooLarge(f"The message is longer than {longest} characters (server.max_message).")


def cursor_of(given: str | None, log: SessionLog) -> Cursor | None:
    """A cursor such as `41` or `41:12`; garbage, and numbers that were never given out, count as absent."""
    if given is None:
        return None
    match = _CURSOR.fullmatch(given.strip())
    if match is None:
        return None
    seq, offset = int(match[1]), match[2]
    if seq > max(log.last_seq, log.reserved_seq):
        return None
    if offset and seq > 0:
        return seq - 1, (seq, int(offset))
    return seq, None


def is_paced(agent: Agent) -> bool:
    streaming = agent.config.streaming
    return bool(streaming.chunk_size or streaming.delay_ms)


def flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in TRUE


def wants_text(request: Request) -> bool:
    """`?frames=text`. Raises InvalidRequest for another word."""
    frames = request.query_params.get("frames")
    if frames not in (None, "text", "all"):
        raise InvalidRequest("frames must be text or all.")
    return frames == "text"
