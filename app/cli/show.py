"""Follows one answer on an output to its end; Ctrl-C stops the answer, a second one the waiting."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

from app.cli.answer import Answer
from app.cli.client import Client
from app.cli.failures import CommandFailed
from app.cli.run import Signals
from app.cli.screen import REFRESH_SECONDS, Output
from app.cli.sse import Frame


class Abandoned(Exception):
    """The user did not want to wait any longer; the turn may go on."""


class Show:
    """`was_stopped` tells whether the user asked for the end."""

    def __init__(self, client: Client, agent: str, answer: Answer, output: Output, signals: Signals) -> None:
        self.was_stopped = False
        self._is_offline = False
        self._client = client
        self._agent = agent
        self._answer = answer
        self._output = output
        self._signals = signals
        self._following: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the turn is over.

        Raises:
            CommandFailed: as `Answer.frames`.
            Abandoned: after a second Ctrl-C, or one that cannot be told to the server or needs not be.
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
        async with aclosing(self._answer.frames()) as frames:
            async for frame in frames:
                self._show(frame)
                if self.was_stopped and self._stopping is None and self._answer.turn_id is not None:
                    self._stopping = asyncio.create_task(self._stop(), name="stop")

    def _show(self, frame: Frame) -> None:
        output = self._output
        match frame.type:
            case "text":
                output.text(frame.chunk)
            case "snapshot":
                output.replace(self._answer.text)
            case "turn_queued":
                output.status("waiting for the answer before this one")
            case "turn_started" | "online":
                self._is_offline = False
                output.status(None)
            case "offline":
                self._is_offline = True
                output.status(f"{frame.fields['problem']}; trying again")
            case "heartbeat" | "turn_finished" | "error":
                pass
            case kind if frame.chunk:
                output.aside(kind, frame.chunk)

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
        assert self._answer.session_id is not None
        try:
            await self._client.cancel(self._agent, self._answer.session_id, self._answer.turn_id)
        except CommandFailed:
            self._following.cancel()


async def stop_quietly(client: Client, agent: str, answer: Answer) -> None:
    """Cancel the turn of an answer that nobody waits for any more; a short try."""
    if answer.finished is None and answer.session_id is not None and answer.turn_id is not None:
        with contextlib.suppress(CommandFailed, TimeoutError):
            async with asyncio.timeout(3):
                await client.cancel(agent, answer.session_id, answer.turn_id)
