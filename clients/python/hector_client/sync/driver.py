# Written by make_sync.py: change _async/driver.py instead.
"""Carries out the steps of `_steps` over httpx2. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import httpx2

from hector_client._http import TimeLimits, arguments, reply_of, unreachable
from hector_client._steps import Call, Emit, Open, Pause, Read, Reply, Request, Stream
from hector_client.errors import HectorError
from hector_client.sync.connection import Connection

T = TypeVar("T")


class Driver:
    """`place` is where the answers come from, for people."""

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
        """Ends early, without an error, when the `connection` is closed."""
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
