"""PushConfigs: addresses of clients that are told when the state of a turn changes, kept with the turn's session.

Who tells them is the owner of the session, so that each change is told once however many servers there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from app.events.change import Change
from app.events.elsewhere import at_owner
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.storage import push_configs

Added = Callable[[SessionLog, str], None]


class PushConfigs:
    """One for the process. A configuration is the text of a door, which alone reads it."""

    def __init__(self, live: LiveSessions, *, clock_ms: Callable[[], int]) -> None:
        self.on_added: Added = _ignore
        """Called where the session is owned: (session, id of a turn) that has an address to be told of its changes."""
        self.owner = ""
        """This server's id among those that share the database; "": it is alone."""
        self._live = live
        self._clock_ms = clock_ms
        self._adding = asyncio.Lock()

    @at_owner
    async def add(
        self, session_log: SessionLog, turn_id: str, config_id: str, *, config: str, is_followed: bool, most: int
    ) -> bool:
        """Store a configuration in place of one with the same id; false: the turn has `most` others.

        `is_followed`: its address is told of what becomes of the turn.

        Raises:
            NotFound, Unavailable: nothing was stored.
        """
        async with self._adding:  # counted and stored in one step
            known = await self.of_turn(session_log, turn_id)
            if config_id not in known and len(known) >= most:
                return False
            async with Change(session_log) as change:
                push_configs.add(
                    change.unit,
                    turn_id=turn_id,
                    config_id=config_id,
                    config=config,
                    is_told=not is_followed,
                    created_ms=self._clock_ms(),
                )
        if is_followed:
            self.on_added(session_log, turn_id)
        return True

    @at_owner
    async def remove(self, session_log: SessionLog, turn_id: str, config_id: str) -> None:
        """One that is not there is not an error."""
        async with Change(session_log) as change:
            push_configs.add_removal(change.unit, turn_id=turn_id, config_id=config_id)

    @at_owner
    async def mark_told(self, session_log: SessionLog, turn_id: str) -> None:
        """All addresses were told of the end of the turn."""
        async with Change(session_log) as change:
            push_configs.add_told(change.unit, turn_id)

    async def of_turn(self, session_log: SessionLog, turn_id: str) -> Mapping[str, str]:
        """The configurations of a turn by their ids, oldest first."""
        find = partial(push_configs.of_turn, session_id=session_log.session.session_id, turn_id=turn_id)
        return await session_log.database.read(find)

    async def untold(self) -> list[tuple[str, str]]:
        """(session id, turn id) of the turns whose changes this server is to tell, or any server may begin to tell."""
        return await self._live.durable.database.read(partial(push_configs.untold, me=self.owner))

    async def open_ours(self, session_id: str) -> SessionLog | None:
        """The session, if it is ours or becomes ours now; `None`: another server has it, or it is gone."""
        session_log = await self._live.open(session_id)
        return None if session_log is None or session_log.elsewhere is not None else session_log


def _ignore(session_log: SessionLog, turn_id: str) -> None:
    """No door tells anybody."""
