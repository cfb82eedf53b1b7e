"""Carries out the steps of `_steps` over httpx2. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import httpx2

from hector_client._async.connection import AsyncConnection
from hector_client._http import TimeLimits, arguments, reply_of, unreachable
from hector_client._steps import Call, Emit, Open, Pause, Read, Reply, Request, Stream
from hector_client.errors import HectorError

T = TypeVar("T")


class AsyncDriver:
    """`place` is where the answers come from, for people."""

    def __init__(self, http: httpx2.AsyncClient, place: str, limits: TimeLimits) -> None:
        self.place = place
        self._http = http
        self._limits = limits

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, steps: Call[T]) -> T:
        answer: Reply | None = None
        failure: HectorError | None = None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as ended:
                value: T = ended.value
                return value
            answer = failure = None
            try:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    answer = await self._send(step)
            except HectorError as error:
                failure = error

    async def stream(self, steps: Stream[T], connection: AsyncConnection | None = None) -> AsyncGenerator[T]:
        """Ends early, without an error, when the `connection` is closed."""
        connection = connection or AsyncConnection()
        answer: Any = None
        failure: HectorError | None = None
        try:
            while not connection.is_closed:
                try:
                    step = steps.send(answer) if failure is None else steps.throw(failure)
                except StopIteration:
                    return
                answer = failure = None
                try:
                    match step:
                        case Read():
                            answer = await self._read(connection)
                        case Open():
                            answer = await self._open(step.request, connection)
                        case Pause():
                            await connection.pause(step.seconds)
                        case Request():
                            answer = await self._send(step)
                except HectorError as error:
                    failure = error
                if isinstance(step, Emit):
                    yield step.value
        finally:
            steps.close()
            await connection.release()

    async def _send(self, request: Request) -> Reply:
        method, path, options = arguments(request, self._limits)
        try:
            return reply_of(await self._http.request(method, path, **options))
        except httpx2.TransportError as error:
            raise unreachable(self.place, error) from error

    async def _open(self, request: Request, connection: AsyncConnection) -> bool:
        await connection.release()
        method, path, options = arguments(request, self._limits)
        try:
            response = await self._http.send(self._http.build_request(method, path, **options), stream=True)
            if response.status_code == 200:
                await connection.hold(response)
                return True
            await response.aread()
        except httpx2.TransportError as error:
            raise unreachable(self.place, error) from error
        if response.status_code != 204:
            reply_of(response)  # raises
        return False

    async def _read(self, connection: AsyncConnection) -> bytes | None:
        try:
            return await connection.read()
        except httpx2.TransportError as error:
            await connection.release()
            raise unreachable(self.place, error) from error
