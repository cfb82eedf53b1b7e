"""TurnIndex: turns by their id alone, and lists of them over sessions. Who may see them, `sessions` decides."""

from __future__ import annotations

from functools import partial

from app.domain.turn import Turn
from app.events.live import LiveSessions
from app.storage import turn_lists
from app.storage.turn_lists import TurnFilter


class TurnIndex:
    """Reads only. All methods raise Unavailable when the database does not answer."""

    def __init__(self, live: LiveSessions) -> None:
        self._live = live

    async def session_of(self, turn_id: str) -> str | None:
        """The id of the session that a turn belongs to, also of an ephemeral one; `None` if there is no such turn."""
        for store in (self._live.durable, self._live.ephemeral):
            session_id = await store.database.read(partial(turn_lists.session_of, turn_id=turn_id))
            if session_id is not None:
                return session_id
        return None

    async def page(self, wanted: TurnFilter, *, before: tuple[int, str] | None, limit: int) -> tuple[list[Turn], int]:
        """A page of stored turns, the last changed first, and how many there are in all. Ephemeral ones are not listed.

        `before`: (time in ms, turn id) of the last turn of the previous page.
        """
        read = self._live.durable.database.read
        page = await read(partial(turn_lists.list_page, wanted=wanted, before=before, limit=limit))
        return page, await read(partial(turn_lists.count, wanted=wanted))
