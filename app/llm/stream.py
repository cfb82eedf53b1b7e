"""One answer of an OpenAI-compatible model on its way: attempts, patience, stop, return of the connection.

The task that reads is never cancelled by us. While there is no response, the opening runs in a task of its
own that a stop cancels once; afterwards a stop closes the response, which wakes the reader.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import aiohttp

from app.llm.base import Delta, LLMError, LLMRequest, LLMStopped, LLMTimeout, StreamEnd, TextDelta
from app.llm.calls import has_whole_arguments
from app.llm.failures import Failures
from app.llm.parse import StreamParser
from app.llm.retry import Retries
from app.llm.slots import Slot, Slots
from app.llm.think import ThinkTag
from app.llm.unpack import Readable, UnknownCompression, readable
from app.llm.whole import parser_for

_DRAIN_SECONDS = 1.0
"""How long after its `[DONE]` a provider may keep the body open before the connection is given up."""

_END_SECONDS = 2.0
"""How long after its finish reason a provider may take for the usage. Heartbeats do not lengthen it, text does."""

_NEVER = float("inf")


class _Silent(StreamParser):
    """For the white space before a body."""

    def feed(self, read: bytes) -> list[Delta]:
        return []


_SILENT = _Silent()


class Upstream(Protocol):
    """What a stream needs of its model."""

    slots: Slots
    failures: Failures
    first_token_timeout: float
    idle_timeout: float
    max_retries: int
    is_patient: bool
    """Whether a sign of life before the first delta, such as a heartbeat, renews `first_token_timeout`."""
    max_bytes: int
    """Of one answer, as it came or as it was unpacked."""
    lingering: set[aiohttp.ClientResponse]
    """Responses that are over but not yet at their end."""

    async def connect(self, body: bytes) -> aiohttp.ClientResponse:
        """One attempt; the response is a success.

        Raises:
            LLMError: what went wrong. Nothing is left open, nor after a cancellation.
        """
        ...

    def body(self, request: LLMRequest) -> bytes:
        """The request as it is sent, without what the provider is known to refuse."""
        ...

    def learn(self, request: LLMRequest, error: LLMError) -> bool:
        """Whether the provider has just refused a part of the request that can be left out; from now on it is."""
        ...

    def takes_over(self, response: aiohttp.ClientResponse) -> bool:
        """Whether the response of a stream that was stopped before its first word stays open, kept by the model."""
        ...

    def entered(self, stream: OpenAIStream) -> None:
        """The stream is about to send its request."""
        ...

    def left(self, stream: OpenAIStream, *, was_stopped_early: bool) -> None:
        """It is over; early means interrupted before the first delta."""
        ...


class OpenAIStream:
    """Implements `LLMStream`. Nothing happens before the first `read`."""

    __slots__ = (
        "_begun", "_body", "_closing", "_content", "_deadline", "_end_deadline", "_failure", "_first_deadline",
        "_has_text", "_head", "_is_failed", "_is_over", "_loop", "_opening", "_parser", "_received",
        "_request", "_response", "_retries", "_slot", "_stop", "_think", "_timer", "_upstream", "end", "was_accepted",
    )  # fmt: skip

    def __init__(self, upstream: Upstream, request: LLMRequest) -> None:
        self.end = StreamEnd()
        self._upstream = upstream
        self._request = request
        self._body = upstream.body(request)
        self._loop = asyncio.get_running_loop()
        self._retries = Retries(upstream.max_retries)
        self._begun = False  # a delta was handed out: from here on no further attempt
        self._has_text = False  # one of them was text
        self._is_over = False
        self._stop: LLMStopped | LLMTimeout | None = None
        self._failure: LLMError | None = None  # of the last attempt
        self._is_failed = False  # and there is no other
        self._slot: Slot | None = None
        self._opening: asyncio.Task[None] | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._content: Readable | None = None  # to be read; there is none before, between and after
        self._closing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._first_deadline = _NEVER
        self._prepare()

    def _prepare(self) -> None:
        """What belongs to one attempt."""
        self.end = StreamEnd()
        self.was_accepted = False
        self._parser: StreamParser | None = None  # until the first bytes tell what the body is
        self._head = b""
        self._think: ThinkTag | None = ThinkTag()  # until the text has begun
        self._received = 0
        self._end_deadline = _NEVER  # begins with the finish reason

    @property
    def has_begun(self) -> bool:
        """Whether there was a word, or even the whole answer in one read."""
        return self._begun or self._is_over

    @property
    def is_waiting(self) -> bool:
        """Whether the first delta is waited for."""
        return not self._begun and self._stop is None

    async def read(self) -> list[Delta]:
        """See `LLMStream.read`."""
        # Only deltas are waited for: nothing else that comes makes this wait longer.
        idle_deadline = self._loop.time() + self._upstream.idle_timeout
        while True:
            content = self._content
            if content is None:
                if not await self._is_ready():
                    return []
                continue
            # One timer a stream, looked at when it fires; arming one for each read would cost 2 us a token.
            deadline = idle_deadline if self._begun else self._first_deadline
            self._deadline = min(deadline, self._end_deadline)
            if self._timer is None:
                self._timer = self._loop.call_at(self._deadline, self._tick)
            try:
                block = await content.readany()
                self._deadline = _NEVER
                deltas = self._parsed(block)
            except (aiohttp.ClientError, OSError, RuntimeError) as exc:
                deltas = self._after_break(content, exc)
            except BaseException:
                self.close()  # the reader was cancelled; nothing is awaited that a second cancel could hit
                raise
            if deltas:
                if not self._begun:
                    self._begun = True
                    self._cancel_timer()  # the next wait is of another length
                return deltas

    def close(self) -> None:
        """See `LLMStream.close`."""
        self._interrupt(LLMStopped("the answer was stopped"))

    def end_here(self, finish_reason: str) -> None:
        """End the answer well with what was read so far, for a reason of ours. Nothing changes once it is over."""
        if self._stop is None and not self._is_over and self._failure is None:
            self.end.finish_reason = finish_reason
            self._is_over = True
            self._drop_response()
            self._leave()

    async def closed(self) -> None:
        """See `LLMStream.closed`."""
        if self._opening is not None and not self._opening.done():
            await asyncio.wait({self._opening})
        if self._closing is not None:
            await asyncio.wait({self._closing})
        elif self._response is not None and not self._response.closed:
            try:
                await self._response.content.wait_eof()  # `_let_go` sees that it comes
            except aiohttp.ClientError:
                pass

    # ---- opening ----------------------------------------------------------------------------------------

    async def _is_ready(self) -> bool:
        """Open, again where that may help, and raise what ended the answer; false when it ended well."""
        delay: float | None = 0.0
        while True:
            if self._stop is not None:
                raise self._stop
            if self._is_over:
                return False
            if self._content is not None:
                return True
            if self._failure is not None:
                delay = None if self._is_failed else self._delay_after(self._failure)
                if delay is None:
                    self._is_failed = True
                    self._leave()
                    raise self._failure
                self._failure = None
                self._prepare()
            try:
                await self._open(delay or 0.0)
            except LLMError as error:
                self._deadline = _NEVER
                self._failure = error
            except BaseException:
                self.close()
                raise

    def _delay_after(self, failure: LLMError) -> float | None:
        """Seconds until the next attempt; `None` when there is none."""
        if self._upstream.learn(self._request, failure):
            body = self._upstream.body(self._request)
            if body != self._body:
                self._body = body
                return 0.0
        return self._retries.delay_after(failure)

    async def _open(self, delay: float) -> None:
        self._opening = self._loop.create_task(self._connect(delay), name="llm-open")
        try:
            # Shielded: `_interrupt` alone cancels the opening, and once. Two cancels a tick apart leak.
            await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stop is None or (task is not None and task.cancelling()):
                raise

    async def _connect(self, delay: float) -> None:
        upstream = self._upstream
        if self._slot is None:
            self._slot = await upstream.slots.acquire()
            upstream.entered(self)
        if delay:
            await asyncio.sleep(delay)
        self._deadline = self._first_deadline = self._loop.time() + upstream.first_token_timeout
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._tick)
        response = self._response = await upstream.connect(self._body)
        self.was_accepted = True
        try:
            self._content = readable(response)
        except UnknownCompression as exc:
            self._drop_response()
            raise upstream.failures.unreadable(str(exc)) from exc

    # ---- reading ----------------------------------------------------------------------------------------

    def _parsed(self, block: bytes) -> list[Delta]:
        """The deltas of one read, empty at the end of the body; sees whether the answer is over."""
        is_end = not block
        self._received += len(block)
        parser = self._parser
        if parser is None:
            block = self._head + block
            parser = self._choose(block, is_end=is_end)
        deltas = self._sorted((parser.feed(block) if block else []) + (parser.finish() if is_end else []))
        if is_end or parser.done or parser.failure is not None:
            self._conclude(self._upstream.failures.cut() if is_end and not parser.is_complete else None, deltas)
        elif self._received > self._upstream.max_bytes:
            self._conclude(self._upstream.failures.too_large(self._upstream.max_bytes), deltas)
        elif self.end.finish_reason is not None and (deltas or self._end_deadline == _NEVER):
            self._end_deadline = self._loop.time() + _END_SECONDS
            self._cancel_timer()  # it was to ring later
        elif not deltas and not self._begun and self._upstream.is_patient:
            self._first_deadline = self._loop.time() + self._upstream.first_token_timeout
        return deltas

    def _choose(self, head: bytes, *, is_end: bool) -> StreamParser:
        """The parser for a body that begins with `head`; one that swallows it while that cannot be said."""
        parser = parser_for(head) or (StreamParser() if is_end else None)
        if parser is None:
            self._head = head.strip()
            return _SILENT
        self._parser = parser
        self.end = parser.end
        return parser

    def _sorted(self, deltas: list[Delta]) -> list[Delta]:
        """The deltas with the thinking in tags told apart; notes whether there is text."""
        if self._think is not None and deltas:
            deltas = self._think.sort(deltas)
            if self._think.is_through:
                self._think = None
        if not self._has_text:
            self._has_text = any(type(delta) is TextDelta for delta in deltas)
        return deltas

    # ---- ending -----------------------------------------------------------------------------------------

    def _after_break(self, content: Readable, exc: Exception) -> list[Delta]:
        """The connection broke, by us or by them."""
        if self._stop is not None:
            return []
        content.set_exception(None)  # else it keeps what had arrived before
        try:
            block = content.read_nowait()
        except (aiohttp.ClientError, OSError, RuntimeError):
            block = b""
        parser = self._parser
        if parser is None:
            block = self._head + block
            parser = self._choose(block, is_end=True)
        deltas = self._sorted(parser.feed(block) + parser.finish())
        cause = str(exc) or type(exc).__name__
        self._conclude(None if parser.is_complete else self._upstream.failures.cut(cause), deltas)
        return deltas

    def _conclude(self, error: LLMError | None, deltas: list[Delta]) -> None:
        """The answer is over, well or not; an error is raised by the next read, after the deltas.

        What a possible tag had held back is put behind `deltas`, unless there may be another attempt.
        """
        self._content = None
        error = self._fault() or error
        if self._think is not None and (error is None or deltas or self._begun):
            held, self._think = self._think.finish(), None
            deltas += self._sorted(held)
        if error is None and self.end.finish_reason == "length" and not (self._has_text or self._asks_well):
            error = self._upstream.failures.no_room(in_call=bool(self.end.calls))
        if error is None:
            self._is_over = True
            self._leave()
            self._let_go()
            return
        self._failure = error
        self._drop_response()
        if deltas or self._begun:
            self._is_failed = True
            self._leave()
        elif self.end.finish_reason is None:
            self.was_accepted = False  # a refusal of status 200

    @property
    def _asks_well(self) -> bool:
        """Whether there are calls, and none of them was cut."""
        return bool(self.end.calls) and all(map(has_whole_arguments, self.end.calls))

    def _fault(self) -> LLMError | None:
        """What the provider itself says against its answer: a failure, or that there is none."""
        parser, failures = self._parser, self._upstream.failures
        if parser is None:
            return None
        if parser.failure is not None:
            return failures.reported(parser.failure)
        if parser.has_choice or not (parser.done or parser.stray):
            return None
        return failures.no_answer(parser.stray)

    def _interrupt(self, reason: LLMStopped | LLMTimeout) -> None:
        if self._stop is not None or self._is_over or self._is_failed:
            return
        self._stop = reason
        if not self._is_taken_over():
            self._drop_response()
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        self._leave()

    def _is_taken_over(self) -> bool:
        """Whether the model keeps the connection of this stopped stream; a pending read of it raises then, too."""
        response = self._response
        if response is None or self._begun or not isinstance(self._stop, LLMStopped):
            return False
        if not self._upstream.takes_over(response):
            return False
        self._response = self._content = None
        response.content.set_exception(aiohttp.ClientError("the answer was stopped"))
        return True

    def _tick(self) -> None:
        self._timer = None
        if self._deadline == _NEVER:  # no read is pending: the next one arms it again
            return
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._tick)
            return
        upstream = self._upstream
        if self._end_deadline <= self._loop.time():
            self._drop_response()  # wakes the reader, who finds the answer complete
        elif self._begun:
            self._interrupt(upstream.failures.timeout("sent nothing for", upstream.idle_timeout))
        else:
            what = "did not begin to answer within"
            self._interrupt(upstream.failures.timeout(what, upstream.first_token_timeout))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._cancel_timer()
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()
            self._upstream.left(self, was_stopped_early=self._stop is not None and not self._begun)

    def _drop_response(self) -> None:
        """Close the connection; a pending read of it raises."""
        response, self._response, self._content = self._response, None, None
        if response is None or response.closed:
            return
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            self._closing = connection.protocol.closed
            if self._closing is not None:
                self._closing.add_done_callback(_look_at)
        response.close()

    def _let_go(self) -> None:
        """Leave the connection to the pool, which takes it as soon as the body has ended."""
        response = self._response
        if response is not None and not response.closed:
            self._upstream.lingering.add(response)
            self._loop.call_later(_DRAIN_SECONDS, self._give_up, response)

    def _give_up(self, response: aiohttp.ClientResponse) -> None:
        self._upstream.lingering.discard(response)
        response.close()


def _look_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()  # else asyncio logs an exception that was never retrieved
