"""Runs a command: one event loop, one place for signals, failures become sentences and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from app.cli.failures import CommandFailed, ExitCode, advised, exit_code
from app.observability import logs
from app.observability.neutral import clean, escape_json
from hector_client import HectorError


class Signals:
    """Ctrl-C calls the handler that the command has set with `on_interrupt`; without one it ends the command."""

    def __init__(self, main: asyncio.Task[Any]) -> None:
        self.code: ExitCode | None = None
        """Set by the signal that ended the command."""
        self._main = main
        self._interrupt: Callable[[], None] | None = None

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._end, ExitCode.TERMINATED)
        loop.add_signal_handler(signal.SIGHUP, self._end, ExitCode.TERMINATED)

    @contextlib.contextmanager
    def on_interrupt(self, act: Callable[[], None]) -> Iterator[None]:
        before, self._interrupt = self._interrupt, act
        try:
            yield
        finally:
            self._interrupt = before

    def _on_interrupt(self) -> None:
        if self._interrupt is not None:
            self._interrupt()
        else:
            self._end(ExitCode.INTERRUPTED)

    def _end(self, code: ExitCode) -> None:
        self.code = code
        self._main.cancel()


def run(command: Callable[[Signals], Coroutine[Any, Any, ExitCode]], *, as_json: bool = False) -> int:
    """The exit code. With `as_json` a failure is one JSON object on standard output, else a line on standard error."""
    logs.configure(level="warning", form="text")
    try:
        return asyncio.run(_run(command))
    except (CommandFailed, HectorError) as failure:
        with contextlib.suppress(BrokenPipeError):
            if as_json:
                print_json(failure.body)
            else:
                complain(advised(failure))
        return exit_code(failure)
    except KeyboardInterrupt:  # before our own handler was installed
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has closed the pipe: print nothing, and keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE


async def _run(command: Callable[[Signals], Coroutine[Any, Any, ExitCode]]) -> ExitCode:
    main = asyncio.current_task()
    assert main is not None
    signals = Signals(main)
    signals.install()
    try:
        return await command(signals)
    except asyncio.CancelledError:
        if signals.code is None:
            raise
        return signals.code


def complain(message: str) -> None:
    """One message on standard error; a line that it brings is set in, so that it cannot pass for another message."""
    print("hector: " + clean(message).replace("\n", "\n  "), file=sys.stderr)


def print_json(found: object) -> None:
    print(escape_json(json.dumps(found, ensure_ascii=False)), flush=True)
