"""The guard before every method: credentials, errors of the error table, calls that are carried out to their end."""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import grpc

from app.auth.authenticate import Authenticator
from app.auth.errors import SignerUnknown
from app.domain.errors import HectorError, Internal, QuotaExceeded
from app.domain.principal import Principal
from app.doors.callers import address_of, admit, caller
from app.doors.scopes import check_rpc
from app.limits.limits import Limits
from app.observability.tasks import Tasks
from app.rpc.status import refuse
from app.rpc.tickets import admit_ticket, find_ticket
from app.sessions.tickets import Tickets

log = logging.getLogger(__name__)

HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection."


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps every method that is registered, whoever wrote it. Health is open to all, reflection to this machine."""

    def __init__(
        self, authenticator: Authenticator, tickets: Tickets, calls: Tasks, limits: Limits | None = None
    ) -> None:
        self._authenticator = authenticator
        self._tickets = tickets
        self._limits = limits
        self._calls = calls

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None:  # no such method
            return None
        more = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            serve = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(self._guarded(method, _writing(serve)), **more)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._guarded(method, handler.stream_unary), **more)
        return grpc.unary_unary_rpc_method_handler(self._guarded(method, self._whole(handler.unary_unary)), **more)

    def _guarded(self, method: str, serve: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Any]:
        async def guarded(request: Any, context: Any) -> Any:
            try:
                return await answered(request, context)
            except grpc.aio.InternalError as error:
                # A write met a caller that has left, before gRPC cancelled the call for that: it is the same.
                raise asyncio.CancelledError from error

        async def answered(request: Any, context: Any) -> Any:
            request_id = f"req_{secrets.token_hex(8)}"
            try:
                metadata = context.invocation_metadata() or ()
                ticket = find_ticket(metadata)
                principal = (
                    await self._admit_key(method, context)
                    if ticket is None
                    else await self._admit_ticket(ticket, method, request, metadata)
                )
                if self._limits is not None and principal is not None:
                    await self._limits.request(principal)
                return await serve(request, context)
            except HectorError as error:
                if error.reason in ("unauthenticated", "rate_limited", "missing_scope"):
                    level = logging.DEBUG if isinstance(error, QuotaExceeded) else logging.INFO
                    log.log(level, "refused a call from %s: %s", context.peer(), error.reason)
                await refuse(context, error, request_id)
            except grpc.aio.BaseError:  # the servicer has set a status of its own
                raise
            except Exception:
                log.exception("call %s of %s failed by our fault", request_id, method)
                fault = Internal("Something went wrong on our side; the log has the details.")
                await refuse(context, fault, request_id)

        return guarded

    async def _admit_ticket(self, ticket: str, method: str, request: Any, metadata: Any) -> Principal:
        principal = await admit_ticket(self._tickets, ticket, method, request, metadata)
        caller.set(principal)
        return principal

    async def _admit_key(self, method: str, context: Any) -> Principal | None:
        try:
            return self._admit(method, context)
        except SignerUnknown:
            await self._authenticator.learn()
            return self._admit(method, context)

    def _admit(self, method: str, context: Any) -> Principal | None:
        """`None`: the method is open to whoever calls."""
        if method.startswith(HEALTH):
            return None
        peer = context.peer()
        if method.startswith(REFLECTION) and _is_loopback(address_of(peer)):
            return None
        principal = admit(self._authenticator, context.invocation_metadata() or (), peer)
        check_rpc(principal, method)
        caller.set(principal)
        return principal

    def _whole(self, serve: Callable[[Any, Any], Coroutine[Any, Any, Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """gRPC cancels a method whose caller has left. What was begun, such as a terminate, must not stop half-way."""

        async def whole(request: Any, context: Any) -> Any:
            return await uncut(self._calls, serve(request, context))

        return whole


async def uncut(calls: Tasks, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result; if the caller is cancelled meanwhile, the work goes on without it."""
    task = calls.start(_settled(coroutine), name="call")
    result, error = await asyncio.shield(task)
    if error is not None:
        raise error
    return result


async def _settled(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, Exception | None]:
    """Errors belong to the caller: nobody logs them as those of a lost task."""
    try:
        return await coroutine, None
    except Exception as error:
        return None, error


def _writing(serve: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Awaitable[None]]:
    """A streaming method as one that writes: gRPC leaves a generator open when it is cancelled in a write."""
    if not inspect.isasyncgenfunction(serve):
        return serve

    async def write(request: Any, context: Any) -> None:
        async with aclosing(serve(request, context)) as answers:
            async for answer in answers:
                await context.write(answer)

    return write


def _is_loopback(address: str) -> bool:
    try:
        return not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
