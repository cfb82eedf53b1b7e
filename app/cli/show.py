"""Follows one answer on an output to its end; Ctrl-C stops the answer, a second one all that waits, and the waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from app.cli.run import Signals
from app.cli.screen import REFRESH_SECONDS, Output
from app.observability.neutral import clean
from hector_client import Answer, Event, HectorError
from hector_client.events import (
    ApprovalDecided,
    ApprovalRequest,
    Budget,
    Error,
    Heartbeat,
    MessageSteered,
    Offline,
    Online,
    Resumed,
    Snapshot,
    Summary,
    Text,
    TurnFinished,
    TurnQueued,
    TurnStarted,
    Waiting,
)

_SHORTFALLS = {
    "length": "The answer is cut: the model reached its limit of tokens (max_tokens).",
    "content_filter": "A content filter of the model withheld the answer or its rest.",
    "refusal": "The model refused to answer.",
}


Settle = Callable[[str, str | None], Awaitable[bool]]
"""Asks what a turn waits for, by its id and the call that an event names. False: the user does not answer now."""


class Abandoned(Exception):
    """The user stopped waiting; the turn may still run."""


STOP_SECONDS = 3
"""How long a stop may take that nobody waits for any more."""


class Show:
    """`was_stopped`: the user has asked to stop the answer. `has_started`: its turn was seen to begin. `was_left`: the
    turn waits for somebody, and the user does not answer now."""

    def __init__(
        self,
        answer: Answer,
        output: Output,
        signals: Signals,
        *,
        stop_all: Callable[[], Awaitable[None]] | None = None,
        settle: Settle | None = None,
    ) -> None:
        """`stop_all` stops what waits in the session, too; called at the second Ctrl-C. `settle` asks what the turn
        waits for."""
        self.was_left = False
        self.was_stopped = False
        self.has_started = False
        self._is_offline = False
        self._answer = answer
        self._output = output
        self._signals = signals
        self._stop_all = stop_all
        self._settle = settle
        self._following: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stopping_all: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Show the answer until its turn is over.

        Raises:
            HectorError: as the answer.
            Abandoned: after a second Ctrl-C (when `stop_all` is done, or at a third), or a first one before the
                message was accepted or when the stop fails.
        """
        self._following = asyncio.create_task(self._follow(), name="answer")
        ticking = asyncio.create_task(self._tick(), name="screen")
        try:
            with self._signals.on_interrupt(self._interrupt):
                await asyncio.wait([self._following])
                if self._stopping_all is not None:
                    await asyncio.wait([self._stopping_all])
        finally:
            tasks = [self._following, ticking, self._stopping, self._stopping_all]
            begun = [task for task in tasks if task is not None]
            for task in begun:
                task.cancel()
            await asyncio.wait(begun)
            self._output.close()
        if self._following.cancelled():
            raise Abandoned
        self._following.result()

    async def _follow(self) -> None:
        async with aclosing(aiter(self._answer)) as events:
            async for event in events:
                self._show(event)
                if self.was_stopped and self._stopping is None and self._answer.turn_id is not None:
                    self._stopping = asyncio.create_task(self._stop(), name="stop")
                if self._settle is not None and _asks(event) and not await self._ask(self._settle, event):
                    self.was_left = True
                    return

    async def _ask(self, settle: Settle, event: Event) -> bool:
        assert self._answer.turn_id is not None
        self._output.pause()
        try:
            return await settle(self._answer.turn_id, event.fields.get("call_id"))
        finally:
            self._output.resume()

    def _show(self, event: Event) -> None:
        output = self._output
        match event:
            case Text():
                output.text(event.chunk)
            case Snapshot():
                output.replace(self._answer.text)
            case TurnQueued():
                output.status("waiting for the answer before this one")
            case TurnStarted() | Online():
                self.has_started |= isinstance(event, TurnStarted)
                self._is_offline = False
                output.status(None)
            case Offline():
                self._is_offline = True
                output.status(f"{event.problem}; trying again")
            case Summary():
                output.note(clean(summary_words(event)))
            case Waiting() if self._settle is None:
                output.status(_WAITS.get(event.waiting_for, "waiting"))
            case Resumed():
                output.status(None)
            case ApprovalDecided():
                output.note(f"{'approved' if event.approved else 'refused'} by {event.by}")
            case MessageSteered():
                output.note(f"steered: {event.message}")
            case Budget():
                output.note(budget_words(event))
            case Heartbeat() | TurnFinished() | Error():
                pass
            case _ if event.chunk:
                output.aside(event.type, event.chunk)

    async def _tick(self) -> None:
        while True:
            self._output.tick()
            await asyncio.sleep(REFRESH_SECONDS)

    def _interrupt(self) -> None:
        assert self._following is not None
        if self._is_offline and self._answer.turn_id is None:
            self._following.cancel()
            return
        if self.was_stopped:
            self._interrupt_again()
            return
        self.was_stopped = True
        again = "stops waiting" if self._stop_all is None else "drops what waits, too"
        self._output.status(f"stopping; Ctrl-C again {again}")
        if self._answer.turn_id is not None:
            self._stopping = asyncio.create_task(self._stop(), name="stop")

    def _interrupt_again(self) -> None:
        assert self._following is not None
        if self._stop_all is None:
            self._following.cancel()
        elif self._stopping_all is not None:
            self._stopping_all.cancel()
            self._following.cancel()
        else:
            self._output.status("stopping all; Ctrl-C again stops waiting")
            self._stopping_all = asyncio.create_task(self._stop_everything(self._stop_all), name="stop all")

    async def _stop_everything(self, stop_all: Callable[[], Awaitable[None]]) -> None:
        assert self._following is not None
        with contextlib.suppress(HectorError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await stop_all()
        self._following.cancel()

    async def _stop(self) -> None:
        assert self._following is not None
        try:
            await self._answer.cancel()
        except HectorError:
            self._following.cancel()


_WAITS = {
    "approval": "waiting for an approval; `hector approvals` lists what waits",
    "input": "waiting for an answer to a question",
    "result": "waiting for a result from elsewhere",
}
_FOLLOWS = {
    "land": " The model is told to conclude.",
    "ask": " It goes on when you allow it.",
    "stop": " The answer is stopped.",
}


def _asks(event: Event) -> bool:
    """Whether somebody has to answer; a call of an agent that was called waits while the turn itself runs."""
    return isinstance(event, Waiting) or (isinstance(event, ApprovalRequest) and event.depth > 0)


def budget_words(budget: Budget) -> str:
    share = round(100 * budget.used / budget.limit) if budget.limit else 100
    follows = _FOLLOWS.get(budget.action, "")
    kind = budget.kind.removeprefix("session_")
    kind = kind if kind == budget.kind else f"{kind} of the session"
    return f"Budget: {budget.used:,.7g} of {budget.limit:,.7g} {kind} used ({share} %).{follows}"


def summary_words(summary: Summary) -> str:
    """What the model was given instead of older messages."""
    many = f"{summary.left_out} older message{' is' if summary.left_out == 1 else 's are'} left out"
    match summary.status:
        case "failed":
            return f"Older messages could not be summarised: {summary.message}" + (
                f"; {many}." if summary.left_out else "."
            )
        case "no_room":
            return "The message is too long for older ones beside it" + (f": {many}." if summary.left_out else ".")
        case _ if summary.left_out:
            return f"{many}."
        case _:
            return "Older messages are summarised."


def shortfall_of(finished: TurnFinished | None) -> str | None:
    """What a completed answer lacks, by the model's own word for its end; `None` if it is whole."""
    if finished is None or finished.status != "completed" or finished.finish_reason is None:
        return None
    if finished.finish_reason in _SHORTFALLS:
        return _SHORTFALLS[finished.finish_reason]
    return None if finished.message_id is not None else "The model ended without a word."


async def stop_quietly(answer: Answer) -> None:
    """Try for STOP_SECONDS to cancel the turn of an answer that is no longer shown."""
    if answer.finished is None and answer.turn_id is not None:
        with contextlib.suppress(HectorError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await answer.cancel()
