"""RollCall: what every replica says of itself, asked over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict

import orjson

from app.cluster.wire import ReplicaGone, Wire
from app.domain.errors import HectorError
from app.domain.replica import ReplicaState, Working
from app.storage import replicas
from app.storage.engine.database import Database
from app.storage.replicas import Replica

ANSWER_SECONDS = 2.0


class RollCall:
    def __init__(self, wire: Wire, database: Database, replica: Replica, working: Callable[[], Working]) -> None:
        """`working`: what this replica says."""
        self._wire = wire
        self._database = database
        self._replica = replica
        self._working = working
        wire.serve("state", self._answer)

    async def states(self) -> list[ReplicaState]:
        """All that are not buried, the one that has been there longest first. Raises Unavailable."""
        found = await self._database.read(replicas.list_all)
        said = await asyncio.gather(*[self._ask(one) for one in found])
        return [
            ReplicaState(
                one.id,
                one.name,
                one.address,
                one.started_ms,
                max(one.seconds_left, 0.0),
                is_first=one is found[0],
                is_here=one.id == self._replica.id,
                working=working,
            )
            for one, working in zip(found, said, strict=True)
        ]

    async def _ask(self, replica: Replica) -> Working | None:
        if replica.id == self._replica.id:
            return self._working()
        try:
            answer = await self._wire.call(replica.id, "state", "", b"", seconds=ANSWER_SECONDS)
        except (HectorError, ReplicaGone):
            return None
        return Working(**orjson.loads(answer))

    async def _answer(self, session_id: str, body: bytes) -> bytes:
        return orjson.dumps(asdict(self._working()))
