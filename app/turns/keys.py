"""Idempotency keys: the same key and body are the same turn, however often and however parallel they come."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import orjson

from app.domain.errors import Conflict, Internal
from app.events.log import SessionLog
from app.storage import turns
from app.turns.open_turn import OpenTurn

Key = tuple[str, bytes]
"""An idempotency key and the hash of the body it came with."""


@dataclass(slots=True, eq=False)
class KeyedTurn:
    """The use of an idempotency key: the body it came with and, in time, its turn."""

    body_hash: bytes
    turn: asyncio.Future[OpenTurn | str]
    """The open turn, or the id of one that is over."""


class Keys:
    """The keys of one warm session whose turns are open. Later the rows of the turns answer for them."""

    def __init__(self) -> None:
        self._used: dict[str, KeyedTurn] = {}

    def __len__(self) -> int:
        return len(self._used)

    async def once(
        self,
        session_log: SessionLog,
        key: Key,
        start: Callable[[], Awaitable[OpenTurn]],
        find_open: Callable[[str], OpenTurn | None],
    ) -> OpenTurn | str:
        """The turn of this key: begun by `start` the first time; later that one, or its id once it is over.

        Raises:
            Conflict (`idempotency_conflict`): the key was used with another body.
            What `start` raises; the key is free again then.
        """
        name, body_hash = key
        keyed = self._used.get(name)
        if keyed is None:
            keyed = self._used[name] = KeyedTurn(body_hash, asyncio.get_running_loop().create_future())
            try:
                await self._use(session_log, keyed, name, start, find_open)
            except BaseException as error:
                self._used.pop(name, None)
                keyed.turn.set_exception(error if isinstance(error, Exception) else Internal("cancelled"))
                keyed.turn.exception()
                raise
        if keyed.body_hash != body_hash:
            raise Conflict(
                "This Idempotency-Key was used with another body; use a new key for a new message.",
                reason="idempotency_conflict",
            )
        return await asyncio.shield(keyed.turn)

    async def _use(
        self,
        session_log: SessionLog,
        keyed: KeyedTurn,
        name: str,
        start: Callable[[], Awaitable[OpenTurn]],
        find_open: Callable[[str], OpenTurn | None],
    ) -> None:
        """The first use in this process: the database may know of an earlier one."""
        find = partial(turns.find_key, session_id=session_log.session.session_id, key=name)
        used = await session_log.database.read(find)
        if used is None:
            keyed.turn.set_result(await start())
            return
        keyed.body_hash, turn_id = used
        keyed.turn.set_result(find_open(turn_id) or turn_id)
        del self._used[name]

    def release(self, turn: OpenTurn) -> None:
        """The turn is over: from now on its row answers for its key."""
        for name, keyed in list(self._used.items()):
            if keyed.turn.done() and not keyed.turn.exception() and keyed.turn.result() is turn:
                del self._used[name]


def make_key(
    name: str,
    text: str | None,
    *,
    instructions: str | None = None,
    message_id: str | None = None,
    background: bool = False,
    on_busy: str | None = None,
    response_format: bytes | None = None,
    seeds: Sequence[object] = (),
) -> Key:
    """The key `name` with what counts as the same request under it: the body as the client gave it."""
    body: list[object] = [background, on_busy, text, instructions, message_id]
    if response_format is not None:  # left out otherwise: keys of earlier releases stay what they are
        body.append(response_format.decode())
    if seeds:
        body.append(seeds)
    return name, hashlib.sha256(orjson.dumps(body)).digest()
