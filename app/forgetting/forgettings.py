"""Forgettings: accepts deletion requests, carries them out, and finishes later what was interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.domain.errors import Unavailable
from app.domain.forgetting import DeletionRequest, ForgetReceipt
from app.domain.ids import NewId
from app.domain.word_cache import clear_word_caches
from app.forgetting.elsewhere import Gone, OtherServers
from app.forgetting.removal import Places, Removal
from app.observability import audit
from app.observability.tasks import Tasks
from app.storage import forgettings
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.erasure import Erasure

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


class Forgettings:
    """Carries out deletion requests, one at a time. `run` is its background task: it retries unfinished ones."""

    def __init__(self, places: Places, erasure: Erasure, *, new_id: NewId, clock_ms: Callable[[], int]) -> None:
        self._places = places
        self._database = places.database
        self._erasure = erasure
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._lock = asyncio.Lock()
        self._tasks = Tasks()
        self._is_unfinished = asyncio.Event()
        self.others: OtherServers | None = None
        """Set where several servers are one service."""

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
        """Remove the target everywhere; see `DeletionRequest`. Once stored, a request is finished, at the latest after
        the next start.

        Raises:
            Unavailable: the database does not answer or cannot write; a stored request is retried.
        """
        request = DeletionRequest(
            self._new_id("wish"), agent, principal, self._clock_ms(), user_id, session_id, memory_id, phrase
        )
        unit = UnitOfWork("")
        forgettings.add(unit, request)
        try:
            await self._database.submit(unit)
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"Nothing was forgotten, the database cannot write: {error}") from error
        audit.note(
            "forget",
            principal=principal,
            user=user_id,
            agent=agent,
            session_id=session_id,
            memory_id=memory_id,
            by_phrase=True if phrase is not None else None,
        )
        return await asyncio.shield(
            self._tasks.start(self._carry_out(request), name=f"forgetting {request.request_id}")
        )

    async def forget_here(self, request: DeletionRequest, gone: Gone) -> None:
        """Another server carries the request out: remove what only this one has. Raises Unavailable, WriteFailed."""
        removal = Removal(self._places, request)
        await removal.remove_own()
        removal.drop_copies(gone)
        clear_word_caches()

    async def resume(self, *, made_before_ms: int | None = None) -> None:
        """Finish the requests that a process before left unfinished, or that failed so far. Raises Unavailable.

        `made_before_ms`: leave later ones to the server that has them at hand.
        """
        for request, _ in await self._database.read(forgettings.unfinished):
            if made_before_ms is not None and request.created_ms >= made_before_ms:
                continue
            try:
                receipt = await self._carry_out(request, again=True)
            except Unavailable as error:
                log.warning("a deletion request could not be finished yet: %s", error)
            except Exception:  # the edge of a sweep, also at a start: the server must come up
                log.exception("a deletion request failed by our fault")
                self._is_unfinished.set()
            else:
                log.info("a deletion request stored earlier: %s", receipt.problem or "finished")

    async def run(self) -> None:
        """Retry unfinished requests for as long as the server lives."""
        while True:
            await self._is_unfinished.wait()
            await asyncio.sleep(RETRY_SECONDS)
            self._is_unfinished.clear()
            try:
                await self.resume()
            except Unavailable:
                self._is_unfinished.set()

    async def finish_old(self) -> None:
        """Where several servers are one service, one of them finishes what another left when it died."""
        while True:
            try:
                await self.resume(made_before_ms=self._clock_ms() - int(RETRY_SECONDS * 1000))
            except Unavailable as error:
                log.warning("deletion requests of before have to wait: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        await self._tasks.cancel()

    async def _carry_out(self, request: DeletionRequest, *, again: bool = False) -> ForgetReceipt:
        """`again`: the request was begun before; another task may have finished it meanwhile."""
        async with self._lock:
            removal = Removal(self._places, request, self.others)
            unfinished = dict(await self._database.read(forgettings.unfinished)) if again else {request: False}
            rows_gone = next(
                (gone for found, gone in unfinished.items() if found.request_id == request.request_id), None
            )
            if rows_gone is None:
                return removal.receipt
            try:
                if not rows_gone:
                    await self._remove_rows(removal)
                # If nothing was removed, only the request itself has to be cleared from the log.
                await self._clear_files(removal, rewrite=again or bool(+removal.receipt.removed))
                if not rows_gone:
                    await removal.verify_files()
            except (Unavailable, WriteFailed, WriteConflict) as error:
                self._is_unfinished.set()
                raise Unavailable(f"Not everything is forgotten yet; it will be retried: {error}") from error
            return removal.receipt

    async def _remove_rows(self, removal: Removal) -> None:
        await removal.remove()
        await removal.remove_recalled()  # again: recalls that were running meanwhile
        clear_word_caches()
        await removal.tell_others()
        await self._places.memory.told()
        await removal.verify_rows()
        unit = UnitOfWork("")
        forgettings.add_rows_gone(unit, removal.request.request_id)
        await self._database.submit(unit)

    async def _clear_files(self, removal: Removal, *, rewrite: bool) -> None:
        erased = await self._erasure.erase(rewrite=rewrite)
        removal.receipt.problem = erased.problem
        if not erased.is_complete:
            self._is_unfinished.set()
            return
        unit = UnitOfWork("")
        forgettings.add_done(unit, removal.request.request_id)
        await self._database.submit(unit)
        self._erasure.touch()
