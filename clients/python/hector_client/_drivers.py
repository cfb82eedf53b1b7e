"""Carry out the steps of `_steps` over httpx2: `AsyncDriver` with `await`, `Driver` without. They decide nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, TypeVar

import httpx2

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


class AsyncConnection:
    """The open response of a stream. `close` ends the stream from outside, also while it waits."""

    def __init__(self) -> None:
        self._response: httpx2.Response | None = None
        self._bytes: AsyncIterator[bytes] | None = None
        self._closing = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self._closing.is_set()

    async def hold(self, response: httpx2.Response) -> None:
        self._response, self._bytes = response, response.aiter_bytes()
        if self.is_closed:
            await self.release()

    async def read(self) -> bytes | None:
        """`None` at the end, and once it is closed."""
        received = await anext(self._bytes, None) if self._bytes is not None else None
        if received is None:
            await self.release()
        return received

    async def pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    async def release(self) -> None:
        response, self._response, self._bytes = self._response, None, None
        if response is not None:
            await response.aclose()

    async def close(self) -> None:
        self._closing.set()
        await self.release()


class Driver:
    """The same without `await`."""

    def __init__(self, http: httpx2.Client, place: str, limits: TimeLimits) -> None:
        self.place = place
        self._http = http
        self._limits = limits

    def close(self) -> None:
        self._http.close()

    def call(self, steps: Call[T]) -> T:
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
                    time.sleep(step.seconds)
                else:
                    answer = self._send(step)
            except HectorError as error:
                failure = error

    def stream(self, steps: Stream[T], connection: Connection | None = None) -> Generator[T]:
        connection = connection or Connection()
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
                            answer = self._read(connection)
                        case Open():
                            answer = self._open(step.request, connection)
                        case Pause():
                            connection.pause(step.seconds)
                        case Request():
                            answer = self._send(step)
                except HectorError as error:
                    failure = error
                if isinstance(step, Emit):
                    yield step.value
        finally:
            steps.close()
            connection.release()

    def _send(self, request: Request) -> Reply:
        method, path, options = arguments(request, self._limits)
        try:
            return reply_of(self._http.request(method, path, **options))
        except httpx2.TransportError as error:
            raise unreachable(self.place, error) from error

    def _open(self, request: Request, connection: Connection) -> bool:
        connection.release()
        method, path, options = arguments(request, self._limits)
        try:
            response = self._http.send(self._http.build_request(method, path, **options), stream=True)
            if response.status_code == 200:
                connection.hold(response)
                return True
            response.read()
        except httpx2.TransportError as error:
            raise unreachable(self.place, error) from error
        if response.status_code != 204:
            reply_of(response)  # raises
        return False

    def _read(self, connection: Connection) -> bytes | None:
        try:
            return connection.read()
        except httpx2.TransportError as error:
            connection.release()
            raise unreachable(self.place, error) from error


class Connection:
    """The open response of a stream. `close`, from another thread, ends the stream with what it receives next: the
    latest is the next heartbeat, for a thread that waits at a socket cannot be woken by closing it.
    """

    def __init__(self) -> None:
        self._response: httpx2.Response | None = None
        self._bytes: Iterator[bytes] | None = None
        self._closing = threading.Event()

    @property
    def is_closed(self) -> bool:
        return self._closing.is_set()

    def hold(self, response: httpx2.Response) -> None:
        self._response, self._bytes = response, response.iter_bytes()

    def read(self) -> bytes | None:
        received = next(self._bytes, None) if self._bytes is not None else None
        if received is None:
            self.release()
        return received

    def pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def release(self) -> None:
        response, self._response, self._bytes = self._response, None, None
        if response is not None:
            response.close()

    def close(self) -> None:
        self._closing.set()
