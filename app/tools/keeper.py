"""Runs one command through a keeper process (`keeper_child.py`), which leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from app.tools.base import ToolFailed, ToolUnknown
from app.tools.sandbox import CODE, PYTHON

Reason = Literal["stopped", "timeout", "processes", "memory"]

_MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from app.tools.keeper_child import main; main()"
_SPARE_SECONDS = 10.0
"""How much longer than the command the keeper may take."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a command ended. Nothing of it runs any more."""

    reason: Reason | None
    """Why it was ended; `None`: it ended by itself."""
    code: int | None
    """Its exit code, or minus the signal that ended it."""
    size: int
    """Bytes it wrote to its output and error output."""
    tail: bytes
    """The end of them, as far as it was not passed on."""


async def run_kept(order: dict[str, Any], *, stop: asyncio.Event, on_output: Callable[[bytes], None]) -> Report:
    """Run a command until it ends, takes too long, is stopped, or uses too much; `order` is as `keeper_child` has it.

    Raises:
        ToolFailed: it could not be started.
        ToolUnknown: the keeper was killed, so nobody knows what became of the command.
    """
    process = await _started()
    stopping = asyncio.create_task(_stop_when_asked(process, stop), name="stop a command")
    try:
        _give(process, order)
        async with asyncio.timeout(order["seconds"] + order["grace_seconds"] + _SPARE_SECONDS):
            _, content = await asyncio.gather(_pass_on(process, on_output), _read_report(process))
            await process.wait()
    except TimeoutError:
        raise ToolUnknown("The command did not end although it was killed.") from None
    finally:
        stopping.cancel()
        await _let_end(process)
    return _report(content)


async def _started() -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *(*PYTHON, _MAIN, CODE),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={},
            cwd="/",
            start_new_session=True,  # Ctrl-C in a terminal goes to the whole group; we end our child ourselves
        )
    except OSError as error:
        raise ToolFailed(f"The command could not be started: {(error.strerror or str(error)).lower()}.") from error


def _give(process: Process, order: dict[str, Any]) -> None:
    assert process.stdin is not None
    content = json.dumps(order).encode()
    process.stdin.write(len(content).to_bytes(4, "big") + content)


async def _stop_when_asked(process: Process, stop: asyncio.Event) -> None:
    await stop.wait()
    assert process.stdin is not None
    process.stdin.write(b"s")


async def _pass_on(process: Process, on_output: Callable[[bytes], None]) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(1 << 16):
        on_output(chunk)


async def _read_report(process: Process) -> bytes:
    assert process.stderr is not None
    return await process.stderr.read()


async def _let_end(process: Process) -> None:
    """Close the keeper's input, which makes it kill what is left, and wait for its end. A keeper that does not end
    within the spare time is killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    if process.returncode is not None:
        return
    ending = asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    try:
        await asyncio.shield(asyncio.wait_for(ending, _SPARE_SECONDS))
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _report(content: bytes) -> Report:
    try:
        report: dict[str, Any] = json.loads(content)
    except ValueError:
        told = content.decode(errors="replace").strip().rpartition("\n")[2]
        raise ToolUnknown(f"The process that kept the command broke; the command was killed. {told}".strip()) from None
    if report["problem"]:
        raise ToolFailed(f"The command could not be started: {report['problem'].lower()}.")
    return Report(report["reason"], report["code"], report["size"], report["tail"].encode("latin-1"))
