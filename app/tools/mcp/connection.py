"""One connection to a server, from its handshake until it is lost or given up. A task of its own holds it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from mcp import types
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from app import __version__
from app.tools.mcp.endpoint import Address, Choice, Endpoint, Limits, Program
from app.tools.mcp.faults import LOST, NOT_SENT, AnswerLost, McpFault, NotSent, Refused
from app.tools.mcp.http import http_streams
from app.tools.mcp.listing import Listing, listing_of
from app.tools.mcp.schemas import SchemaChecks, is_deep
from app.tools.mcp.stdio import stdio_streams
from app.tools.mcp.tasks import CLAIM, EXTENSION
from app.tools.mcp.waiting import Exchange

log = logging.getLogger(__name__)

RAW: TypeAdapter[Any] = TypeAdapter(dict[str, Any])
"""A result as it came, checked against the protocol."""
_PAGES = 1_000
_REFRESH_PAUSE = 1.0  # seconds; a server may say again and again that its tools have changed
_LISTEN_PAUSE = 5.0
_NAME = 200
_WORDS = 500  # characters of what a server says about an error


class Connection:
    """Its life is `live()`, in one task. `settled` is set when it is up or over, `over` when it is of no more use.

    A connection that is over still finishes the calls that run on it; then `live` returns.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        choice: Choice,
        limits: Limits,
        checks: SchemaChecks,
        *,
        skips_probe: bool = False,
    ) -> None:
        self._name = name
        self._choice = choice
        self._checks = checks
        self._endpoint = endpoint
        self._limits = limits
        self.skips_probe = skips_probe
        """Whether the server is known to bear no question for its protocol; for the next connection."""
        self.is_up = False
        self.why = ""
        """Why it is over; goes on after the server's name."""
        self.settled = asyncio.Event()
        self.over = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._calls = 0
        self._exchanges: set[Exchange] = set()
        self._session: ClientSession | None = None
        self._is_stale = asyncio.Event()
        self.listing = Listing()
        self.holds_seconds: float | None = None
        """How long the listing holds, as the server said; `None`: until the server says that it has changed."""
        self.on_listing: Callable[[], None] = lambda: None

    @property
    def protocol(self) -> str | None:
        return self._session.protocol_version if self._session is not None else None

    @property
    def is_modern(self) -> bool:
        return self.protocol in MODERN_PROTOCOL_VERSIONS

    @property
    def software(self) -> str | None:
        """Name and version of the server, as it says."""
        info = self._session.server_info if self._session is not None else None
        return None if info is None else f"{info.name} {info.version}"[:200]

    def give_up(self, why: str) -> None:
        """Take no more calls, and end when those that run are over. The first reason counts."""
        if not self.over.is_set():
            self.why = why
        self.is_up = False
        self.over.set()
        self.settled.set()

    async def live(self) -> None:
        """Connect, list the tools, and hold the connection until it is given up. Raises nothing: `why` tells."""
        try:
            async with AsyncExitStack() as stack:
                try:
                    await self._open(stack)
                except Exception as error:
                    self.give_up(why_of(error))  # now: what is closed on the way out has other reasons
                    raise
                self.is_up = not self.over.is_set()
                self.settled.set()
                await self._hold()
        except asyncio.CancelledError:
            self.give_up("is closed")
            raise
        except BaseException as error:  # a group of errors, from libraries and a foreign program
            self.give_up(why_of(error))
            if not isinstance(error, Exception):
                raise
        finally:
            self.give_up("ended")

    async def _open(self, stack: AsyncExitStack) -> None:
        streams = await stack.enter_async_context(self._streams())
        self._dispatcher = _Dispatcher(*streams, on_end=lambda: self.give_up("ended"))
        self._session = ClientSession(
            dispatcher=self._dispatcher,
            client_info=types.Implementation(name="hector", version=__version__),
            message_handler=self._notice,
            elicitation_callback=self._elicit,
            extensions={EXTENSION: {}},
            result_claims={EXTENSION: (CLAIM,)},
        )
        await stack.enter_async_context(self._session)
        async with asyncio.timeout(self._limits.handshake_timeout):
            await self._negotiate(self._session)
            await self.refresh()

    def _streams(self) -> Any:
        if isinstance(self._endpoint, Address):
            return http_streams(
                self._endpoint.url,
                self._endpoint.headers,
                max_message_bytes=self._limits.max_message_bytes,
                on_lost=self.give_up,
            )
        return stdio_streams(
            self._name,
            self._endpoint,
            max_message_bytes=self._limits.max_message_bytes,
            exit_seconds=self._limits.exit_timeout,
            on_lost=self.give_up,
        )

    async def _negotiate(self, session: ClientSession) -> None:
        """The newest protocol first; a server that does not know it gets the handshake of the older ones."""
        if not self.skips_probe:
            # A program that ends at the question, or a server that keeps silent, is not asked again.
            self.skips_probe = isinstance(self._endpoint, Program)
            try:
                async with asyncio.timeout(self._limits.probe_timeout):
                    await session.discover()
                self.skips_probe = False
                return
            except (MCPError, RuntimeError, ValidationError, TimeoutError) as error:
                if self.over.is_set():
                    raise
                self.skips_probe = isinstance(error, TimeoutError)
        try:
            await session.initialize()
        except MCPError as error:
            if error.code != types.UNSUPPORTED_PROTOCOL_VERSION:
                raise
            await session.discover()  # it was only slow to answer the first time

    async def refresh(self) -> None:
        """List the tools anew."""
        session = self._connected()
        capabilities = session.server_capabilities
        if capabilities is None or capabilities.tools is None:
            return
        tools: list[types.Tool] = []
        malformed: list[str] = []
        ttl_ms: list[int] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await session.list_tools(params=params)
            tools += page.tools
            malformed += self._dispatcher.malformed
            ttl_ms.append(page.ttl_ms or 0)
            if not page.next_cursor or page.next_cursor == cursor or len(tools) > 2 * self._limits.max_tools:
                break
            cursor = page.next_cursor
        # In a thread: thousands of schemas are checked.
        listing = await asyncio.to_thread(
            listing_of,
            self._name,
            tools,
            self._choice,
            self._checks,
            is_modern=self.is_modern,
            max_tools=self._limits.max_tools,
        )
        self.listing = replace(listing, left_out=(*listing.left_out, *malformed))
        tells_changes = bool(capabilities.tools.list_changed)
        self.holds_seconds = min(ttl_ms) / 1000 or (None if tells_changes else self._limits.refresh)
        self.on_listing()

    def expire_listing(self) -> None:
        """List the tools anew, soon."""
        self._is_stale.set()

    async def request(self, request: types.Request[Any, Any], exchange: Exchange | None = None) -> dict[str, Any]:
        """The raw result of a request, which may be sent from any task. Cancelling that task cancels it in the server.

        `exchange` is told of progress and questions. Raises NotSent, AnswerLost, Refused.
        """
        session = self._connected()
        self._calls += 1
        self._idle.clear()
        if exchange is not None:
            self._exchanges.add(exchange)
        try:
            on_progress = exchange.on_progress if exchange is not None else None
            found: dict[str, Any] = await session.send_request(request, RAW, progress_callback=on_progress)
            return found
        except MCPError as error:
            raise self._fault_of(error) from error
        except ValidationError as error:
            raise AnswerLost("answered with what is no result of the protocol") from error
        finally:
            self._calls -= 1
            if exchange is not None:
                self._exchanges.discard(exchange)
            if not self._calls:
                self._idle.set()

    def _connected(self) -> ClientSession:
        if self._session is None or self.over.is_set():
            raise NotSent(self.why or "is not connected")
        return self._session

    def _fault_of(self, error: MCPError) -> McpFault:
        message = error.message[:_WORDS]
        if error.code == NOT_SENT:
            return NotSent(message)
        if _is_closed(error):
            # Whatever broke the stream of an answer: the next request had better not stand on the same connection.
            self.give_up("broke off an answer")
            return AnswerLost(self.why)
        if error.code in (LOST, types.PARSE_ERROR):
            return AnswerLost(self.why or message)
        return Refused(message, error.code)

    async def _elicit(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """A question of a server of an older protocol. It does not say which call it belongs to: with several on their
        way, a person who has nothing to do with it might be asked."""
        if len(self._exchanges) != 1:
            log.warning("MCP server %s asks a question while %d calls run", self._name, len(self._exchanges))
            return types.ErrorData(code=types.INVALID_REQUEST, message="It is not clear which call asks")
        (exchange,) = self._exchanges
        response = await exchange.ask(params.model_dump(by_alias=True, mode="json", exclude_none=True))
        return types.ElicitResult.model_validate(response)

    async def _notice(self, message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.expire_listing()

    async def _hold(self) -> None:
        helpers = [asyncio.create_task(self._keep_fresh(), name=f"mcp {self._name} list")]
        if self.is_modern:
            helpers.append(asyncio.create_task(self._listen(), name=f"mcp {self._name} listen"))
        try:
            await self.over.wait()
            await self._idle.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)

    async def _keep_fresh(self) -> None:
        while True:
            await self._is_stale.wait()
            self._is_stale.clear()
            try:
                async with asyncio.timeout(self._limits.handshake_timeout):
                    await self.refresh()
            except (McpFault, MCPError, ValidationError, TimeoutError) as error:
                log.warning("the tools of MCP server %s could not be listed: it %s", self._name, why_of(error))
            await asyncio.sleep(_REFRESH_PAUSE)

    async def _listen(self) -> None:
        """Follow the changes that a server of the newest protocol tells on a stream of their own."""
        capabilities = self._connected().server_capabilities
        if capabilities is None or capabilities.tools is None or not capabilities.tools.list_changed:
            return
        while True:
            try:
                async with listen(self._connected(), tools_list_changed=True) as changes:
                    async for _ in changes:
                        self.expire_listing()
            except SubscriptionLost:
                self.expire_listing()
            except (McpFault, MCPError) as error:
                log.debug("MCP server %s tells no changes: it %s", self._name, why_of(error))
                if not self.over.is_set():
                    self.holds_seconds = self.holds_seconds or self._limits.refresh
                return
            await asyncio.sleep(_LISTEN_PAUSE)


class _Dispatcher(JSONRPCDispatcher[TransportContext]):
    """Tells when the connection has ended, and leaves malformed tools out of a list, which would refuse them all."""

    def __init__(self, *streams: Any, on_end: Callable[[], None]) -> None:
        super().__init__(*streams)
        self._on_end = on_end
        self.malformed: list[str] = []
        """Why tools of the last page were left out."""

    async def run(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().run(*args, **kwargs)
        finally:
            self._on_end()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None, **rest: Any
    ) -> dict[str, Any]:
        found = await super().send_raw_request(method, params, opts, **rest)
        if method == "tools/list" and isinstance(tools := found.get("tools"), list):
            reasons = {id(tool): _why_malformed(tool) for tool in tools}
            self.malformed = [reason for reason in reasons.values() if reason is not None]
            found["tools"] = [tool for tool in tools if reasons[id(tool)] is None]
        return found


def _why_malformed(tool: object) -> str | None:
    name = str(tool.get("name"))[:_NAME] if isinstance(tool, dict) else type(tool).__name__
    if is_deep(tool):
        return f"{name}: it is nested too deeply"
    try:
        found = types.Tool.model_validate(tool, by_name=False)
    except ValidationError as error:
        places = {".".join(map(str, part["loc"])) for part in error.errors(include_input=False, include_context=False)}
        return f"{name}: it is malformed in {', '.join(sorted(places))}"[:_WORDS]
    return None if found.input_schema.get("type") == "object" else f"{name}: its schema is not that of an object"


def _is_closed(error: MCPError) -> bool:
    """Whether the SDK says that no answer will come. Servers use its code for errors of their own."""
    return error.code == types.CONNECTION_CLOSED and error.message.startswith(("Connection closed", "SSE stream"))


def why_of(error: BaseException) -> str:
    """What went wrong, from a tree of errors; goes on after the server's name."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case McpFault() | MCPError():
            return str(error)[:_WORDS]
        case TimeoutError():
            return "does not answer"
        case FileNotFoundError() | PermissionError() | NotADirectoryError():
            return f"cannot be started: {error.strerror}: {error.filename!r}"
        case _:
            return f"failed: {type(error).__name__}: {error}"[:_WORDS]
