"""Where chat reads its lines: an editor on a terminal, plain lines in a pipe."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

QUIT_HINT = "Ctrl-C again or Ctrl-D quits."


class Interrupted(Exception):
    """Ctrl-C on an empty line."""


class Prompt(Protocol):
    async def read(self, default: str = "") -> str:
        """The next message or command, `default` being there to be edited.

        Raises:
            EOFError: there is no more.
            Interrupted
        """
        ...

    async def ask(self, question: str, default: str = "") -> str:
        """A short answer that does not enter the history, `default` being there to be edited. Raises as `read`."""
        ...


class Lines:
    """Standard input, one message per line. Reads ahead by at most one pipe buffer."""

    def __init__(self, file: int = 0) -> None:
        self._file = file
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1)
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        # The event loop cannot wait for every kind of input. A daemon thread does not hold up the end of the process.
        threading.Thread(target=self._work, name="standard input", daemon=True).start()

    async def read(self, default: str = "") -> str:
        line = None if self._is_over else await self._lines.get()
        if line is None:
            self._is_over = True
            raise EOFError
        return line

    async def ask(self, question: str, default: str = "") -> str:
        return await self.read()

    def _work(self) -> None:
        # Not sys.stdin: a thread that sleeps in its buffer would hold up the end of the process.
        rest = b""
        try:
            while received := os.read(self._file, 65536):
                *lines, rest = (rest + received).split(b"\n")
                for line in lines:
                    self._give(line.decode("utf-8", errors="replace").rstrip("\r"))
            if rest:
                self._give(rest.decode("utf-8", errors="replace"))
            self._give(None)
        except (OSError, RuntimeError, CancelledError):  # the loop is closed or closing: the command is over
            return

    def _give(self, line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._lines.put(line), self._loop).result()


class Editor:
    """prompt_toolkit: history, several lines, completion of commands."""

    def __init__(self, *, history: Path | None, commands: Sequence[str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.formatted_text import FormattedText
        from prompt_toolkit.history import FileHistory, History, InMemoryHistory

        kept: History = FileHistory(str(history)) if history is not None else InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            FormattedText([("bold ansicyan", "> ")]),
            history=kept,
            multiline=True,
            prompt_continuation=FormattedText([("ansibrightblack", ". ")]),
            completer=WordCompleter(list(commands), sentence=True),
            complete_while_typing=False,
            key_bindings=_bindings(),
            enable_history_search=False,
        )

    async def read(self, default: str = "") -> str:
        try:
            return await self._session.prompt_async(default=default, handle_sigint=False)
        except KeyboardInterrupt:
            raise Interrupted from None

    async def ask(self, question: str, default: str = "") -> str:
        from prompt_toolkit import PromptSession

        session: PromptSession[str] = PromptSession()
        try:
            return await session.prompt_async(f"{question} ", default=default, handle_sigint=False)
        except KeyboardInterrupt:
            raise Interrupted from None


def _bindings() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


def history_file(environ: Mapping[str, str]) -> Path | None:
    """The file of typed lines, readable by its owner only; `None` if it cannot be created. HECTOR_HISTORY names it."""
    named = environ.get("HECTOR_HISTORY")
    base = environ.get("XDG_STATE_HOME")
    try:
        path = (
            Path(named) if named else (Path(base) if base else Path.home() / ".local" / "state") / "hector" / "history"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except (OSError, RuntimeError):
        return None
    return path
