"""Any model behind the OpenAI chat API, through the openai client."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
import orjson

from app import __version__
from app.config.address import is_azure, key_header
from app.domain.errors import Unavailable
from app.llm import context_asking, tokens
from app.llm.base import LLMError, LLMRequest
from app.llm.body import Bodies
from app.llm.context import ASSUMED, Context, ContextWindow, Told
from app.llm.context_asking import Way
from app.llm.failures import Failures
from app.llm.presets import Quirks
from app.llm.slots import Slots
from app.llm.stream import OpenAIStream
from app.llm.transport import RESPONSE, AiohttpTransport, LeanClient

_MAX_BYTES = 32 * 1024 * 1024
_MAX_BYTES_PER_TOKEN = 512
"""An event around one token has 150 to 350 bytes."""

_MAX_LIST_BYTES = 4 * 1024 * 1024
"""A list of models that is longer is not read: parsing it would stall the loop."""


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """One model of one provider. Times in seconds; `None` leaves a choice to the provider, or sets no limit.

    `key_name` is what to set where the key is missing, such as `OPENAI_API_KEY`. `is_patient`: heartbeats before the
    first token renew `first_token_timeout`, as of a server that loads its model. `extra`: further fields of a request.
    `context`: what the model takes in, as far as that is known; `asks_for_context`: how its provider is asked.
    """

    model: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    needs_key: bool = False
    key_name: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    connect_timeout: float = 10.0
    first_token_timeout: float = 60.0
    idle_timeout: float = 60.0
    max_retries: int = 2
    max_concurrency: int | None = None
    is_patient: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)
    quirks: Quirks = field(default_factory=Quirks)
    context: Context = ASSUMED
    asks_for_context: Way | None = None


class OpenAICompatible:
    """Implements `LLM`. Belongs to one event loop; connections are made on demand and kept."""

    def __init__(self, name: str, settings: OpenAISettings) -> None:
        self.name = name
        self.model = settings.model
        self.settings = settings
        self.slots = Slots(settings.max_concurrency)
        self.context = ContextWindow(
            settings.context,
            answer_tokens=settings.max_tokens,
            ask=self._ask_for_context if settings.asks_for_context is not None else None,
        )
        self.failures = Failures(
            settings.model,
            settings.base_url,
            settings.api_key,
            settings.key_name,
            name,
            settings.max_tokens,
            self.context,
        )
        self.is_patient = settings.is_patient
        self.max_bytes = max(_MAX_BYTES, _MAX_BYTES_PER_TOKEN * (settings.max_tokens or 0))
        self.first_token_timeout = settings.first_token_timeout
        self.idle_timeout = settings.idle_timeout
        self.max_retries = settings.max_retries
        self._encoding, self._counts_exactly = tokens.encoding_for(settings.model)
        self._bodies = Bodies(
            settings.model,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            extra=settings.extra,
            quirks=settings.quirks,
        )
        # An absolute address spares the client from joining it with its base each time (30 us).
        base = httpx2.URL(settings.base_url)
        self._url = str(base.copy_with(userinfo=b"", path=base.path.rstrip("/") + "/chat/completions"))
        self._options = _options(_credentials(settings.api_key, base))
        self._client: openai.AsyncOpenAI | None = None
        self._transport: AiohttpTransport | None = None
        self._is_closed = False
        self._running: set[OpenAIStream] = set()
        self.lingering: set[aiohttp.ClientResponse] = set()

    def stream(self, request: LLMRequest) -> OpenAIStream:
        """See `LLM.stream`. Must be called inside the loop."""
        return OpenAIStream(self, request)

    def count_tokens(self, text: str) -> int:
        """See `LLM.count_tokens`."""
        return tokens.count(text, self._encoding)

    @property
    def counts_exactly(self) -> bool:
        return self._counts_exactly

    @property
    def takes_tools(self) -> bool:
        """See `LLM.takes_tools`."""
        return True

    async def close(self) -> None:
        """Stop all streams and close all connections."""
        self._is_closed = True
        for stream in list(self._running):
            stream.close()
        for response in self.lingering:
            response.close()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def connect(self, body: bytes) -> aiohttp.ClientResponse:
        """See `Upstream.connect`."""
        if self.settings.needs_key and not self.settings.api_key:
            raise self.failures.missing_key()
        if self._is_closed:
            raise self.failures.closed()
        try:
            client = self._client or self._make_client()
        except Unavailable as exc:
            raise LLMError(str(exc)) from exc
        try:
            response = await client.post(
                self._url,
                content=body,
                cast_to=httpx2.Response,
                options=self._options,
                stream=True,
                stream_cls=openai.AsyncStream[Any],
            )
        except openai.OpenAIError as exc:
            proxy = self._transport.proxy_of(self._url) if self._transport else None
            raise self.failures.translated(exc, self.settings.connect_timeout, proxy) from exc
        # The signature promises a stream object; asked for the response, the client returns that.
        return cast(aiohttp.ClientResponse, cast(httpx2.Response, response).extensions[RESPONSE])

    def body(self, request: LLMRequest) -> bytes:
        """See `Upstream.body`."""
        return self._bodies.make(request)

    def learn(self, request: LLMRequest, error: LLMError) -> bool:
        """See `Upstream.learn`."""
        return self._bodies.learn(request, error)

    async def _ask_for_context(self) -> Told | None:
        """What the provider says of the model's context. Raises what an unreachable server raises."""
        way = self.settings.asks_for_context
        if way is None or self._is_closed or (self.settings.needs_key and not self.settings.api_key):
            return None
        return await context_asking.ask(way, self._fetch, self.model)

    async def ask_models(self, seconds: float) -> tuple[int, object]:
        """The status with which the provider answers a request for its models, and the JSON of a 200.

        Costs no tokens, and tells whether the key is good wherever the list is not open to all.

        Raises LLMError: it cannot be reached within `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._ask("models", None)
        except TimeoutError as error:
            raise self.failures.timeout("did not answer within", seconds) from error
        except (httpx2.HTTPError, OSError) as error:
            raise self.failures.unreachable(error) from error
        except ValueError:
            return 200, None

    async def _fetch(self, path: str, body: object) -> object:
        """The JSON that the provider answers at `path`, below the address of the API; `None` for any refusal."""
        _, found = await self._ask(path, body)
        return found

    async def _ask(self, path: str, body: object) -> tuple[int, object]:
        """The status, and the JSON of a 200."""
        if self._client is None:
            self._make_client()
        assert self._transport is not None
        key = self.settings.api_key
        base_url = self.settings.base_url
        headers = key_header(key, base_url) if key else _password(httpx2.URL(base_url))
        headers |= {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"hector/{__version__}"}
        url = httpx2.URL(self._url)
        base = url.path.removesuffix("/chat/completions")
        if path.startswith("../"):
            base, path = base.rpartition("/")[0], path.removeprefix("../")
        url = url.copy_with(path=f"{base}/{path}")
        request = httpx2.Request("GET" if body is None else "POST", url, headers=headers, json=body)
        response = await self._transport.handle_async_request(request)
        try:
            if response.status_code != 200:
                return response.status_code, None
            content = await response.aread()
        finally:
            await response.aclose()
        return 200, orjson.loads(content) if len(content) <= _MAX_LIST_BYTES else None

    def takes_over(self, response: aiohttp.ClientResponse) -> bool:
        """See `Upstream.takes_over`: a provider has its models loaded."""
        return False

    def entered(self, stream: OpenAIStream) -> None:
        """See `Upstream.entered`."""
        self._running.add(stream)

    def left(self, stream: OpenAIStream, *, was_stopped_early: bool) -> None:
        """See `Upstream.left`."""
        self._running.discard(stream)

    def _make_client(self, uds: str | None = None) -> openai.AsyncOpenAI:
        self._transport = AiohttpTransport(
            connect_timeout=self.settings.connect_timeout,
            uds=uds,
            secure=self.settings.base_url.startswith("https"),
        )
        self._client = _Client(
            api_key=self.settings.api_key or "none",
            base_url=self.settings.base_url,
            max_retries=0,
            http_client=LeanClient(self._transport),
        )
        return self._client


class _Client(openai.AsyncOpenAI):
    """The openai client without the headers that describe our machine to the provider (40 us a request)."""

    _prepared: tuple[str, httpx2.URL] | None = None

    @cached_property
    def _lean_headers(self) -> dict[str, str | openai.Omit]:
        is_openai = (urlsplit(str(self.base_url)).hostname or "").endswith("openai.com")
        lean: dict[str, str | openai.Omit] = {
            name: value
            for name, value in super().default_headers.items()
            if isinstance(value, str)
            and not name.lower().startswith("x-stainless-")
            and (is_openai or not name.lower().startswith("openai-"))
        }
        return lean | {
            "Accept": "text/event-stream, application/json",
            # Compressed events would wait in the compressor.
            "Accept-Encoding": "identity",
            "User-Agent": f"hector/{__version__}",
        }

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return self._lean_headers

    def _prepare_url(self, url: str) -> httpx2.URL:
        """Parse an address once, not for each request (25 us)."""
        if self._prepared is None or self._prepared[0] != url:
            self._prepared = url, super()._prepare_url(url)
        return self._prepared[1]


def _credentials(key: str | None, base: httpx2.URL) -> dict[str, str | openai.Omit]:
    """The headers that differ from the client's own `Authorization: Bearer KEY`."""
    if not key:
        return {**_password(base)}
    return {"Authorization": openai.omit, **key_header(key, str(base))} if is_azure(str(base)) else {}


def _options(headers: Mapping[str, str | openai.Omit]) -> Any:
    """Options of each request. Retries, time limits and redirects are the stream's business, not the client's.

    Every option of the client has a value: for each one without, it copies a default, and makes up a key that is
    never sent: 60 us a request.
    """
    return {
        "headers": {"x-stainless-retry-count": openai.omit, **headers},
        "max_retries": 0,
        "timeout": None,
        "params": {},
        "extra_json": None,
        "idempotency_key": "unused",
        "follow_redirects": False,
        "security": {"bearer_auth": True},
        "synthesize_event_and_data": False,
        "stream_mode": "legacy",
    }


def _password(base: httpx2.URL) -> dict[str, str]:
    """The header for an address with user and password in it."""
    if not base.userinfo:
        return {}
    credentials = base64.b64encode(f"{base.username}:{base.password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}
