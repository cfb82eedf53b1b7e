"""The embedded model: its requests, its answers, and the child process that is killed to stop it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import orjson

from app.llm.base import CallDelta, Delta, LLMError, LLMRequest, LLMTimeout, TextDelta, ToolCall, unescape
from app.llm.calls import new_call_id
from app.llm.llama_cpp import LlamaServer, LlamaServerError
from app.llm.loops import LoopWatch
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.stream import OpenAIStream


class LocalStream(OpenAIStream):
    """An answer of the embedded model. One that has become a loop ends there, with the finish reason `length`.

    `tool`: the answer is the arguments of this tool.
    """

    __slots__ = ("_arguments", "_tool", "_watch")

    def __init__(self, upstream: LocalLLM, request: LLMRequest, tool: str | None = None) -> None:
        super().__init__(upstream, request)
        self._watch = LoopWatch()
        self._tool = tool
        self._arguments: list[bytes] = []

    async def read(self) -> list[Delta]:
        deltas = await super().read()
        if deltas and self._watch.sees(deltas):
            self.end_here("length")
        return deltas if self._tool is None else self._asked(self._tool, deltas)

    def _asked(self, tool: str, deltas: list[Delta]) -> list[Delta]:
        for place, delta in enumerate(deltas):
            if isinstance(delta, TextDelta):
                self._arguments += delta.chunks
                deltas[place] = CallDelta(delta.chunks)
        if not deltas and not self.end.calls:
            self.end.calls = [ToolCall(new_call_id(), tool, unescape(b"".join(self._arguments)))]
        return deltas


class LocalLLM(OpenAICompatible):
    """The embedded model: the same API, spoken by our own child process over its UNIX socket.

    The child is started by the first request and again after its death. llama.cpp notices that a client left
    only between generated tokens, so a stop while it reads a prompt kills it, unless it serves another turn.

    It asks for no tools. A tool that is forced, by its name or as the only one that is required, is not offered: its
    schema becomes the grammar of the answer, which is then the arguments.
    """

    def __init__(self, name: str, settings: OpenAISettings, server: LlamaServer) -> None:
        super().__init__(name, settings)
        self._server = server
        self._killing: set[asyncio.Task[None]] = set()

    def stream(self, request: LLMRequest) -> LocalStream:
        forced = _forced(request)
        if request.tools:
            made = None if forced is None else _format_of(forced)
            request = replace(request, tools=(), response_format=made or request.response_format)
        return LocalStream(self, request, None if forced is None else str(forced["name"]))

    @property
    def takes_tools(self) -> bool:
        return False

    async def connect(self, body: bytes) -> aiohttp.ClientResponse:
        if self._killing:
            await asyncio.wait(self._killing)
        try:
            await self._server.ensure()
            if self._client is None and not self._is_closed:
                self._make_client(self._server.socket_path)
            generation = self._server.generation
            try:
                return await super().connect(body)
            except LLMError as error:
                if self._is_closed or error.status is not None or isinstance(error, LLMTimeout):
                    raise
            # No process listens at the socket: the child has just died, and its watcher may not have seen it yet.
            await self._server.restart(generation=generation)
        except LlamaServerError as exc:
            raise LLMError(str(exc).partition("\n")[0], detail=str(exc)[:2000]) from exc
        return await super().connect(body)

    def left(self, stream: OpenAIStream, *, was_stopped_early: bool) -> None:
        super().left(stream, was_stopped_early=was_stopped_early)
        if was_stopped_early and not self._running and self._server.is_running:
            task = asyncio.get_running_loop().create_task(self._server.kill(), name="llm-kill-child")
            self._killing.add(task)
            task.add_done_callback(self._killing.discard)

    async def close(self) -> None:
        await super().close()
        await self._server.close()
        if self._killing:
            await asyncio.wait(self._killing)


def _forced(request: LLMRequest) -> dict[str, Any] | None:
    """The function that the model must call, if it has no choice."""
    functions: list[dict[str, Any]] = [orjson.loads(tool)["function"] for tool in request.tools]
    if request.tool_choice == "required" and len(functions) == 1:
        return functions[0]
    return next((function for function in functions if function["name"] == request.tool_choice), None)


def _format_of(function: dict[str, Any]) -> bytes:
    schema = {"name": function["name"], "schema": function.get("parameters") or {"type": "object"}}
    return orjson.dumps({"type": "json_schema", "json_schema": schema})
