"""Arrivals: entries of the tail that a mirror was given and has not shown yet, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from app.cluster.tail_entry import Entry
from app.domain.errors import HectorError
from app.observability.tasks import Tasks

if TYPE_CHECKING:
    from app.cluster.mirror import Mirror
    from app.cluster.showing import Showing

log = logging.getLogger(__name__)

MOST = 1024
"""Entries that wait; without the oldest of more, the mirror asks the journal."""
GAP_SECONDS = 0.2
"""How long entries wait for what lies before them until the owner is asked how far the journal is."""


class Arrivals:
    def __init__(self, mirror: Mirror, showing: Showing) -> None:
        self._mirror = mirror
        self._showing = showing
        self._waiting: deque[Entry] = deque(maxlen=MOST)
        self._taking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks()

    def add(self, entry: Entry) -> None:
        """The next entry of the tail; text that readers can be shown costs no task and no query."""
        self._waiting.append(entry)
        self.show()

    def show(self) -> None:
        """Show what follows what readers have; called again when that is more."""
        session_log = self._mirror.session_log
        while self._waiting and self._taking is None and not self._mirror.is_over:
            entry, at = self._waiting[0], session_log.visible_seq
            if entry.after > at and entry.upto > at:
                self._close_gap(entry.after, at)
                return
            if entry.upto > at and entry.has_facts:
                self._taking = self._tasks.start(self._take(entry), name=f"facts of {self._mirror.session_id}")
                return
            self._waiting.popleft()
            if entry.upto > at:
                session_log.follow_owner(entry.runs_after(at), entry.upto, session_log.session)

    async def settled(self) -> None:
        """Return when nothing is being taken."""
        if self._taking is not None:
            await asyncio.wait([self._taking])

    def clear(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    async def close(self) -> None:
        self.clear()
        await self._tasks.cancel()

    async def _take(self, entry: Entry) -> None:
        """An entry with facts: the desk follows it, and the row of the session."""
        try:
            await self._showing.take(entry)
        except HectorError as error:
            log.debug("session %s is not shown further yet: %s", self._mirror.session_id, error)
            await asyncio.sleep(GAP_SECONDS)
        except Exception:  # the edge of the task; the journal has it, too
            log.exception("an entry of session %s could not be shown", self._mirror.session_id)
            if self._waiting and self._waiting[0] is entry:
                self._waiting.popleft()
        finally:
            self._taking = None
        self.show()

    def _close_gap(self, wanted: int, at: int) -> None:
        """Have the mirror read the journal, as far as that is known to be complete."""
        known = min(wanted, max([entry.stored for entry in self._waiting]))
        if known > at:
            self._showing.hint(known)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GAP_SECONDS, self._ask_owner)

    def _ask_owner(self) -> None:
        self._timer = None
        if self._waiting and not self._mirror.is_over:
            if self._waiting[0].after > self._mirror.session_log.visible_seq:
                self._mirror.look_again()
            self.show()
