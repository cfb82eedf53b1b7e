"""Booking: the tokens of model calls beside the turns (summaries) enter the session's counters and the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable

from app.domain.errors import HectorError
from app.domain.turn import Usage
from app.events.change import Change
from app.events.log import SessionLog
from app.observability.metrics import Metrics
from app.observability.tasks import Tasks
from app.storage import usage as ledger
from app.turns.condensing import Condensing

log = logging.getLogger(__name__)


class Booking:
    """Enters what a job used, whatever became of it. Owns the tasks that wait for the commits."""

    def __init__(self, *, clock_ms: Callable[[], int], metrics: Metrics | None = None) -> None:
        self._clock_ms = clock_ms
        self._metrics = metrics
        self._tasks = Tasks()

    def book(self, session_log: SessionLog, job: Condensing) -> None:
        if not job.usages:
            return
        used, session, llm = total(job.usages), session_log.session, job.llm
        # The session may be gone: its tokens were used all the same.
        change = Change(session_log, is_required=False)
        change.count(usage=used)
        ledger.add(
            change.unit,
            principal=session.principal,
            user_id=session.user_id,
            agent=session.agent,
            llm=llm.name,
            now_ms=self._clock_ms(),
            prompt=used.prompt_tokens,
            completion=used.completion_tokens,
            turns=0,
        )
        self._tasks.start(self._commit(change), name=f"usage of {session.session_id}")
        if self._metrics is not None:
            self._metrics.tokens_used(
                agent=session.agent, llm=llm.name, prompt=used.prompt_tokens, completion=used.completion_tokens
            )

    async def _commit(self, change: Change) -> None:
        try:
            await change.commit()
        except HectorError as error:
            log.warning("tokens of a summary were not entered into the ledger: %s", error)

    async def close(self) -> None:
        """Wait for what was handed over."""
        await self._tasks.wait(seconds=5)


def total(usages: list[Usage]) -> Usage:
    prompt = sum([usage.prompt_tokens for usage in usages])
    return Usage(prompt, sum([usage.completion_tokens for usage in usages]), usages[-1].source)
