"""Replicas that are nothing but their ends of the wire, in this process or in one of their own."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from functools import partial
from typing import Protocol

from app.cluster.wire import Wire
from app.domain.errors import NotFound
from app.domain.ids import format_id
from app.storage import replicas
from app.storage.engine.database import Database
from tests.fixtures.postgres import run

CHILD = """
import asyncio, sys
from tests.cluster.replicas import Replica

async def main():
    replica = Replica(sys.argv[2], sys.argv[1])
    await replica.open()
    print("open", flush=True)
    while True:
        replica.renew(float(sys.argv[3]))
        await asyncio.sleep(0.2)

asyncio.run(main())
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_id(kind: str) -> str:
    return format_id(kind, milliseconds=now_ms(), randomness=secrets.randbits(65))


class Replica:
    """`url`: of its connections, `direct_url`: of the same database, where those lead through a line that is cut."""

    def __init__(self, name: str, url: str, *, direct_url: str | None = None) -> None:
        self.name = name
        self.carried_out: list[str] = []
        """What `note` was given, in order."""
        self.hints: dict[str, str] = {}
        self.reconnects = 0
        self.may_go_on = asyncio.Event()
        self._url = direct_url or url
        self._database = Database(self._url, replica_id=name)
        self.wire = Wire(self._database, url, replica_id=name, new_id=new_id, clock_ms=now_ms)
        self.wire.serve("echo", self._echo)
        self.wire.serve("note", self._note)
        self.wire.serve("wait", self._wait)
        self.wire.serve("refuse", self._refuse)
        self.wire.serve("break", self._break)
        self.wire.on_hint = self.hints.__setitem__
        self.wire.on_reconnected = self._count

    async def open(self, *, lease_seconds: float = 3600) -> None:
        await self._database.open(migrate=False)
        self.renew(lease_seconds)
        await self.wire.open()

    async def close(self) -> None:
        await self.wire.close()
        await self._database.close()

    async def knows(self, replica_id: str) -> bool:
        """Whether that one is a replica still."""
        return await self._database.read(partial(replicas.is_member, replica_id=replica_id))

    def renew(self, lease_seconds: float) -> None:
        until = f"clock_timestamp() + interval '{lease_seconds} s'"
        run(
            self._url,
            "INSERT INTO replicas (id, name, address, started_ms, lease_until)"
            f" VALUES ('{self.name}', '{self.name}', 'http://{self.name}', 1, {until})"
            " ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
        )

    async def _echo(self, session_id: str, body: bytes) -> bytes:
        return session_id.encode() + b": " + body

    async def _note(self, session_id: str, body: bytes) -> bytes:
        """Different commands take different times, so that only an order that is kept is the right one."""
        await asyncio.sleep(len(body) % 3 / 1000)
        self.carried_out.append(f"{session_id} {body.decode()}")
        return body

    async def _wait(self, session_id: str, body: bytes) -> bytes:
        self.carried_out.append(f"{session_id} {body.decode()}")
        await self.may_go_on.wait()
        return body

    async def _refuse(self, session_id: str, body: bytes) -> bytes:
        raise NotFound(
            f"There is no session {session_id!r} here.", reason="session_not_found", details={"said": body.decode()}
        )

    async def _break(self, session_id: str, body: bytes) -> bytes:
        raise RuntimeError("this is our fault")

    def _count(self) -> None:
        self.reconnects += 1


class OpenReplica(Protocol):
    async def __call__(self, name: str, *, url: str | None = None) -> Replica: ...


def start_child(name: str, url: str, *, lease_seconds: float) -> subprocess.Popen[str]:
    """A replica in a process of its own that renews its lease five times a second; returns when it listens."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, name, str(lease_seconds)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    return child
