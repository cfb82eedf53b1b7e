"""Follows one answer on an output to its end; Ctrl-C stops the answer, a second one the waiting."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

from app.cli.run import Signals
from app.cli.screen import REFRESH_SECONDS, Output, clean
from hector_client import Answer, Event, HectorError
from hector_client.events import (
    Error,
    Heartbeat,
    Offline,
    Online,
    Snapshot,
    Summary,
    Text,
    TurnFinished,
    TurnQueued,
    TurnStarted,
)


class Abandoned(Exception):
    """The user stopped waiting; the turn may still run."""


class Show:
    """`was_stopped`: the user has asked to stop the answer."""

    def __init__(self, answer: Answer, output: Output, signals: Signals) -> None:
        self.was_stopped = False
        self._is_offline = False
        self._answer = answer
        self._output = output
        self._signals = signals
        self._following: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Show the answer until its turn is over.

        Raises:
            HectorError: as the answer.
            Abandoned: after a second Ctrl-C, or a first one before the message was accepted or when the stop fails.
        """
        self._following = asyncio.create_task(self._follow(), name="answer")
        ticking = asyncio.create_task(self._tick(), name="screen")
        try:
            with self._signals.on_interrupt(self._interrupt):
                await asyncio.wait([self._following])
        finally:
            for task in (self._following, ticking, self._stopping):
                if task is not None:
                    task.cancel()
            await asyncio.wait([task for task in (self._following, ticking, self._stopping) if task is not None])
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
                self._is_offline = False
                output.status(None)
            case Offline():
                self._is_offline = True
                output.status(f"{event.problem}; trying again")
            case Summary():
                output.note(clean(summary_words(event)))
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
        if self.was_stopped or (self._is_offline and self._answer.turn_id is None):
            self._following.cancel()
            return
        self.was_stopped = True
        self._output.status("stopping; Ctrl-C again stops waiting")
        if self._answer.turn_id is not None:
            self._stopping = asyncio.create_task(self._stop(), name="stop")

    async def _stop(self) -> None:
        assert self._following is not None
        try:
            await self._answer.cancel()
        except HectorError:
            self._following.cancel()


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


async def stop_quietly(answer: Answer) -> None:
    """Try for three seconds to cancel the turn of an answer that is no longer shown."""
    if answer.finished is None and answer.turn_id is not None:
        with contextlib.suppress(HectorError, TimeoutError):
            async with asyncio.timeout(3):
                await answer.cancel()
