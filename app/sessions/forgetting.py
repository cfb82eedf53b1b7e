"""Forgetting: a wish is written down, granted, and its receipt given; what breaks off is finished later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.domain.errors import Unavailable
from app.domain.forgetting import ForgetReceipt, Wish
from app.domain.ids import NewId
from app.observability.tasks import Tasks
from app.sessions.granting import Granting, Parts
from app.storage import forgettings
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.erasure import Erasure

log_ = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


class Forgettings:
    """Carries out wishes, one at a time. `run` goes on with what could not be finished."""

    def __init__(self, parts: Parts, erasure: Erasure, *, new_id: NewId, clock_ms: Callable[[], int]) -> None:
        self._parts = parts
        self._database = parts.database
        self._erasure = erasure
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._lock = asyncio.Lock()
        self._tasks = Tasks()
        self._is_unfinished = asyncio.Event()

    async def forget(
        self,
        agent: str,
        principal: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        memory_id: str | None = None,
        phrase: str | None = None,
    ) -> ForgetReceipt:
        """Forget it everywhere; see `Wish`. Once this is begun it is finished, at the latest after the next start.

        Raises:
            Unavailable: the database does not answer or cannot write; what was written down is tried again.
        """
        wish = Wish(self._new_id("wish"), agent, principal, self._clock_ms(), user_id, session_id, memory_id, phrase)
        unit = UnitOfWork("")
        forgettings.add(unit, wish)
        try:
            await self._database.submit(unit)
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"Nothing was forgotten, the database cannot write: {error}") from error
        return await asyncio.shield(self._tasks.start(self._carry_out(wish), name=f"forgetting {wish.wish_id}"))

    async def resume(self) -> None:
        """Finish what a process before left, or what could not be finished yet. Raises Unavailable."""
        for wish, _ in await self._database.read(forgettings.unfinished):
            try:
                receipt = await self._carry_out(wish, again=True)
            except Unavailable as error:
                log_.warning("a forgetting could not be finished yet: %s", error)
            except Exception:  # the edge of a sweep, also at a start: the server must come up
                log_.exception("a forgetting failed by our fault")
                self._is_unfinished.set()
            else:
                log_.info("a forgetting that was begun before: %s", receipt.problem or "finished")

    async def run(self) -> None:
        """Try again what could not be finished, for as long as the server lives."""
        while True:
            await self._is_unfinished.wait()
            await asyncio.sleep(RETRY_SECONDS)
            self._is_unfinished.clear()
            try:
                await self.resume()
            except Unavailable:
                self._is_unfinished.set()

    async def close(self) -> None:
        await self._tasks.cancel()

    async def _carry_out(self, wish: Wish, *, again: bool = False) -> ForgetReceipt:
        """`again`: the wish was begun before; it may have been finished meanwhile."""
        async with self._lock:
            granting = Granting(self._parts, wish)
            unfinished = dict(await self._database.read(forgettings.unfinished)) if again else {wish: False}
            rows_gone = next((gone for found, gone in unfinished.items() if found.wish_id == wish.wish_id), None)
            if rows_gone is None:
                return granting.receipt
            try:
                if not rows_gone:
                    await self._remove_rows(granting)
                # Where nothing was found there is nothing to clear but the wish itself.
                await self._clear_files(granting, rewrite=again or bool(+granting.receipt.removed))
                if not rows_gone:
                    await granting.look_into_files()
            except (Unavailable, WriteFailed, WriteConflict) as error:
                self._is_unfinished.set()
                raise Unavailable(f"Not all is forgotten yet, which is tried again in a while: {error}") from error
            return granting.receipt

    async def _remove_rows(self, granting: Granting) -> None:
        await granting.remove()
        await granting.remove_told()  # again: what was being recalled meanwhile
        await granting.look_at_rows()
        unit = UnitOfWork("")
        forgettings.add_rows_gone(unit, granting.wish.wish_id)
        await self._database.submit(unit)

    async def _clear_files(self, granting: Granting, *, rewrite: bool) -> None:
        erased = await self._erasure.erase(rewrite=rewrite)
        granting.receipt.problem = erased.problem
        if not erased.is_complete:
            self._is_unfinished.set()
            return
        unit = UnitOfWork("")
        forgettings.add_done(unit, granting.wish.wish_id)
        await self._database.submit(unit)
        self._erasure.touch()
