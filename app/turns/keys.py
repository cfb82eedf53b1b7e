"""Idempotency keys: the same key and body are the same turn, however often and however parallel they come."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial

import orjson

from app.domain.errors import Conflict, Internal
from app.events.live import Store
from app.storage import turns
from app.turns.begin import Key
from app.turns.desk import Ask, Desk, KeyedTurn, OpenTurn


async def once(desk: Desk, store: Store, key: Key, start: Callable[[], Awaitable[OpenTurn]]) -> OpenTurn | str:
    """The turn of this key: begun by `start` the first time; later that one, or its id once it is over.

    Raises:
        Conflict (`idempotency_conflict`): the key was used with another body.
        What `start` raises; the key is free again then.
    """
    name, body_hash = key
    keyed = desk.keys.get(name)
    if keyed is None:
        keyed = desk.keys[name] = KeyedTurn(body_hash, asyncio.get_running_loop().create_future())
        try:
            await _first_use(desk, store, keyed, name, start)
        except BaseException as error:
            desk.keys.pop(name, None)
            keyed.turn.set_exception(error if isinstance(error, Exception) else Internal("cancelled"))
            keyed.turn.exception()
            raise
    if keyed.body_hash != body_hash:
        raise Conflict(
            "This Idempotency-Key was used with another body; use a new key for a new message.",
            reason="idempotency_conflict",
        )
    return await asyncio.shield(keyed.turn)


async def _first_use(
    desk: Desk, store: Store, keyed: KeyedTurn, name: str, start: Callable[[], Awaitable[OpenTurn]]
) -> None:
    """The first use in this process: the database may know of an earlier one."""
    used = await store.database.read(partial(turns.find_key, session_id=desk.log.session.session_id, key=name))
    if used is None:
        keyed.turn.set_result(await start())
        return
    keyed.body_hash, turn_id = used
    keyed.turn.set_result(desk.find(turn_id) or turn_id)
    del desk.keys[name]


def forget(desk: Desk, turn: OpenTurn) -> None:
    """The turn is over: from now on its row answers for its key."""
    for name, keyed in list(desk.keys.items()):
        if keyed.turn.done() and not keyed.turn.exception() and keyed.turn.result() is turn:
            del desk.keys[name]


def hash_body(ask: Ask, background: bool, on_busy: str | None) -> bytes:
    """What counts as the same request under one key."""
    body = [background, on_busy, ask.text, ask.instructions, ask.again.message_id if ask.again else None]
    return hashlib.sha256(orjson.dumps(body)).digest()
