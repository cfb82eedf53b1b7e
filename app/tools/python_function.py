"""Tools that are Python functions of the one who runs the server: `tools: {pay: {python: "my_module:pay"}}`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from app.domain.act import ToolClass
from app.domain.label import Reach, Secrecy
from app.tools import docstrings
from app.tools.base import (
    Later,
    Question,
    Tool,
    ToolContext,
    ToolFailed,
    ToolOutcome,
    ToolResult,
    ToolSpec,
    ToolStopped,
    ToolUnknown,
)
from app.tools.function_call import AsyncCall, FunctionCall, ThreadCall, is_async
from app.tools.function_import import ToolLoadError, import_function
from app.tools.function_schema import FunctionSchema, HintError, schema_of
from app.tools.mistakes import cut
from app.tools.threads import Threads

__all__ = ["ProbingPythonFunction", "PythonFunction", "ToolLoadError", "load"]

log = logging.getLogger(__name__)


def load(
    reference: str,
    folder: Path,
    *,
    name: str,
    tool_class: ToolClass = ToolClass.ONCE,
    deferred: bool = False,
    timeout_seconds: float = 60.0,
    grace_seconds: float = 2.0,
    description: str | None = None,
    reads: Reach = "fixed",
    sends: Reach = "fixed",
    secrecy: Secrecy | None = None,
    threads: Threads | None = None,
) -> Tool:
    """The tool for the function `module:function`; the module is beside the configuration (`folder`) or on PYTHONPATH.

    A function with the attribute `probe`, itself a function of a key, makes a tool that can be asked whether a call
    has happened. `deferred`: its outcome is not what it returns, but comes later. `grace_seconds`: how long it may take
    to end when it is told to. `threads`: where functions that are not async run; else each tool has its own.

    Raises:
        ToolLoadError: one sentence that names the tool and what is wrong.
    """
    try:
        function = import_function(reference, folder)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise HintError("it yields; a tool returns its result, and reports with `ctx.progress`")
        schema = schema_of(function)
    except HintError as exc:
        raise ToolLoadError(f"The tool {name!r} ({reference}) cannot be used: {exc}.") from exc
    except ToolLoadError as exc:
        raise ToolLoadError(f"The tool {name!r} cannot be loaded: {exc}") from exc
    told = description or docstrings.summary(inspect.getdoc(function)) or f"Call {name}."
    spec = ToolSpec(name, told, schema.parameters, tool_class, "python", None, reads, sends, secrecy)
    kind = ProbingPythonFunction if callable(getattr(function, "probe", None)) else PythonFunction
    return kind(
        function,
        spec,
        schema,
        deferred=deferred,
        timeout_seconds=timeout_seconds,
        grace_seconds=grace_seconds,
        threads=threads or Threads(),
    )


class PythonFunction:
    """A function as a tool. Async ones run in the loop and are cancelled to end them, others in a thread."""

    def __init__(
        self,
        function: Callable[..., Any],
        spec: ToolSpec,
        schema: FunctionSchema,
        *,
        deferred: bool,
        timeout_seconds: float,
        grace_seconds: float,
        threads: Threads,
    ) -> None:
        self.spec = spec
        self._function = function
        self._schema = schema
        self._deferred = deferred
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._threads = threads
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        if context.is_stopped:
            raise ToolStopped
        if is_async(self._function):
            call: FunctionCall = AsyncCall(self._function, context)
        else:
            call = ThreadCall(self._function, context, self._threads)
        try:
            positional, named = self._schema.bind(arguments, call.context)
        except ValueError as exc:
            raise ToolFailed(str(exc)) from exc
        work = asyncio.get_running_loop().create_task(call.run(positional, named), name=f"tool {self.spec.name}")
        try:
            return await self._finish(work, call, context)
        finally:
            call.close()
            if not work.done():
                call.end(work)
                self._abandoned.add(work)
                work.add_done_callback(self._forget)

    async def _finish(self, work: asyncio.Task[Any], call: FunctionCall, context: ToolContext) -> ToolOutcome:
        is_over = await _wait(work, context.stop, self._timeout_seconds)
        if not is_over:
            call.end(work)
            await asyncio.wait({work}, timeout=self._grace_seconds if call.has_begun else 0)
        if work.done() and not work.cancelled() and work.exception() is None:
            return self._outcome(work.result())
        if is_over:
            raise self._failure(work)
        if not work.done() and call.has_begun:
            log.warning("the tool %s does not end; it is left to itself", self.spec.name)
        raise self._ending(context, is_left=not work.done() and call.has_begun, has_begun=call.has_begun)

    def _outcome(self, value: Any) -> ToolOutcome:
        if isinstance(value, (Later, Question)):
            return value
        result = _result(value)
        if self._deferred:
            return Later(result.text if value is not None else "")
        return result

    def _failure(self, work: asyncio.Task[Any]) -> Exception:
        """What to raise for a function that ended with an exception by itself."""
        exc = asyncio.CancelledError() if work.cancelled() else work.exception()
        if isinstance(exc, (ToolFailed, ToolUnknown, ToolStopped)):
            return exc
        log.warning("the tool %s failed", self.spec.name, exc_info=exc)
        return ToolFailed(cut(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__, 2_000))

    def _ending(self, context: ToolContext, *, is_left: bool, has_begun: bool) -> Exception:
        """What to raise for a function that was made to end, or that does not end."""
        state = "it does not end, and is left to itself" if is_left else "it was ended"
        if has_begun and self.spec.tool_class is ToolClass.ONCE and (is_left or not context.is_stopped):
            return ToolUnknown(f"{self._lateness(context)}; {state}. It may have had its effect.")
        if context.is_stopped:
            return ToolStopped()
        if not has_begun:
            return ToolFailed(f"{self._lateness(context)}, because too many earlier calls of it still run. Try later.")
        return ToolFailed(f"{self._lateness(context)}; {state}.")

    def _lateness(self, context: ToolContext) -> str:
        if context.is_stopped:
            return f"`{self.spec.name}` was stopped"
        return f"`{self.spec.name}` was not done after {self._timeout_seconds:g} s"

    def _forget(self, work: asyncio.Future[Any]) -> None:
        self._abandoned.discard(work)
        if not work.cancelled() and (exc := work.exception()) is not None:
            log.warning("the tool %s, left to itself, failed", self.spec.name, exc_info=exc)


class ProbingPythonFunction(PythonFunction):
    """A function with a `probe`: what it says of a key is what came of the call; `None`: it has not happened."""

    async def probe(self, key: str) -> ToolResult | None:
        probe = self._function.probe  # type: ignore[attr-defined]  # `load` has seen it
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if is_async(probe):
                    value = await probe(key)
                else:
                    value = await self._threads.run(functools.partial(probe, key), name=f"probe {self.spec.name}")
        except ToolUnknown:
            raise
        except Exception as exc:
            log.warning("the probe of the tool %s failed", self.spec.name, exc_info=exc)
            raise ToolUnknown(f"It cannot be found out: {type(exc).__name__}: {cut(str(exc), 300)}") from exc
        return None if value is None else _result(value)


async def _wait(work: asyncio.Task[Any], stop: asyncio.Event, seconds: float) -> bool:
    """Whether the work is done before it is stopped or late."""
    stopping = asyncio.get_running_loop().create_task(stop.wait(), name="stop of a tool")
    try:
        await asyncio.wait({work, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    return work.done()


def _result(value: Any) -> ToolResult:
    """What a function returned, as a model and programs are told."""
    if isinstance(value, ToolResult):
        return value
    if isinstance(value, str):
        return ToolResult(value)
    try:
        return ToolResult(to_json(value).decode(), to_jsonable_python(value))
    except (PydanticSerializationError, ValueError):  # it has happened all the same
        return ToolResult(cut(repr(value), 10_000))
