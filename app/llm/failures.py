"""From what went wrong below to an `LLMError` that a user understands. The key never appears in one."""

from __future__ import annotations

import re
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import openai

from app.config.address import OLLAMA_PORT
from app.llm.base import LLMError, LLMTimeout
from app.llm.context import ContextWindow
from app.llm.dialect import Reported, words_of
from app.llm.retry import is_passing, is_retryable_status, retry_after

MAX_DETAIL = 2000
_MAX_WORDS = 300

_REFUSALS = {
    400: "refused the request",
    401: "refused the key",
    403: "refused access",
    404: "was not found",
    413: "refused the request as too long",
    422: "refused the request",
    429: "has reached a limit",
}

_TOO_LONG = re.compile(
    r"context.{0,3}(?:length|window|size)|maximum.{0,20}(?:context|tokens)|too many (?:input )?tokens"
    r"|(?:prompt|input|request).{0,20}too (?:long|large)|exceeds?.{0,40}(?:context|max_model_len|available context)"
    r"|max_model_len|reduce the length",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Failures:
    """Makes the errors of one model.

    `key_name` is what to set where a key is missing or wrong; `name` is the entry of `llms`, for advice about its
    keys, of which `max_tokens` is one that may be at fault where it is set. `context` learns from a refusal.
    """

    model: str
    base_url: str
    api_key: str | None = None
    key_name: str | None = None
    name: str = "<name>"
    max_tokens: int | None = None
    context: ContextWindow | None = None

    @property
    def _who(self) -> str:
        return f"The model {self.model!r} at {_place(self.base_url)}"

    def missing_key(self) -> LLMError:
        return LLMError(f"{self._who} needs a key: set {self.key_name or 'api_key'}")

    def unreachable(self, cause: BaseException, proxy: str | None = None) -> LLMError:
        """`proxy`: the address of the proxy that was asked, for it may be what cannot be reached."""
        # An idle connection that the other side had just closed breaks when used again: no need to wait then.
        is_stale = type(cause) in (httpx2.RemoteProtocolError, httpx2.NetworkError)
        through = f" through the proxy {proxy}" if proxy else ""
        is_hopeless = isinstance(cause, httpx2.UnsupportedProtocol)
        words = str(cause) if is_hopeless else why_unreachable(cause)
        said = f": {_short(self._detail(words))}" if words else ""
        if urlsplit(self.base_url).port == OLLAMA_PORT and not proxy:
            said += "; is `ollama serve` running?"
        return LLMError(
            f"{self._who} cannot be reached{through}{said}",
            detail=self._detail(str(cause)),
            retryable=not is_hopeless,
            retry_after=0.0 if is_stale else None,
        )

    def closed(self) -> LLMError:
        return LLMError(f"{self._who} is closed")

    def timeout(self, what: str, seconds: float) -> LLMTimeout:
        """`what` completes the sentence: "… did not begin to answer within 60 s"."""
        return LLMTimeout(f"{self._who} {what} {seconds:g} s", retryable=True)

    def cut(self, cause: str | None = None) -> LLMError:
        return LLMError(
            f"{self._who} broke off: the model's answer was cut off",
            detail=self._detail(cause) if cause else None,
            retryable=True,
        )

    def reported(self, failure: Reported) -> LLMError:
        """A failure that the provider reported inside an answer of status 200."""
        detail = self._detail(failure.words)
        advice = self._advice(failure.words)
        if failure.kind == "web_page":
            advice = f" (is llms.{self.name}.host the address of an API?)"
        return LLMError(
            f"{self._who} failed{advice}: {_short(detail)}",
            detail=detail,
            status=failure.status,
            retryable=is_passing(failure.status, failure.kind, failure.words),
            is_too_long=_TOO_LONG.search(failure.words) is not None,
        )

    def no_answer(self, words: str) -> LLMError:
        """The body ended well and had no choice in it; `words` are what it had instead."""
        detail = self._detail(words) or None
        said = f": {_short(detail)}" if detail else ""
        return LLMError(f"{self._who} sent no answer{said}", detail=detail, retryable=True)

    def no_room(self, *, in_call: bool = False) -> LLMError:
        """The tokens were used up before the first word, or in the middle of a tool call."""
        limit = f" of {self.max_tokens}" if self.max_tokens else ""
        where = "in the middle of a tool call" if in_call else "before the first word of its answer"
        return LLMError(
            f"{self._who} used up its limit{limit} tokens {where}: "
            f"raise llms.{self.name}.max_tokens, or let the model think less"
        )

    def too_large(self, max_bytes: int) -> LLMError:
        return LLMError(f"{self._who} sent more than {max_bytes // 2**20} MiB for one answer")

    def unreadable(self, why: str) -> LLMError:
        return LLMError(f"{self._who} cannot be read: {why}")

    def translated(self, exc: openai.OpenAIError, connect_timeout: float, proxy: str | None = None) -> LLMError:
        if isinstance(exc, openai.APIStatusError):
            return self._status(exc, proxy)
        if isinstance(exc, openai.APITimeoutError):
            through = f" through the proxy {proxy}" if proxy else ""
            return self.timeout(f"could not be connected to{through} within", connect_timeout)
        return self.unreachable(exc.__cause__ or exc, proxy)

    def _status(self, exc: openai.APIStatusError, proxy: str | None) -> LLMError:
        status, headers = exc.status_code, exc.response.headers
        detail = self._detail(words_of(exc.body) if exc.body else "")
        said = f": {_short(detail)}" if detail else ""
        advice = f" (check {self.key_name})" if status == 401 and self.key_name else self._advice(detail)
        if status == 404 and not urlsplit(self.base_url).path.strip("/"):
            advice = f" (most APIs have a path, such as /v1: see llms.{self.name}.host)"
        refusal = _REFUSALS.get(status, "failed")
        if status == 407:
            refusal = f"cannot be reached: the proxy {proxy or ''} refused us"
        elif proxy and status in (502, 503, 504):
            refusal = f"failed, or the proxy {proxy}"
        return LLMError(
            f"{self._who} {refusal}{advice}, status {status}{said}",
            detail=detail or None,
            status=status,
            # An empty purse looks like a limit, but waiting does not fill it.
            retryable=is_retryable_status(status, headers) and exc.code != "insufficient_quota",
            retry_after=retry_after(headers, time.time()),
            is_too_long=_TOO_LONG.search(detail) is not None,
        )

    def _advice(self, words: str) -> str:
        """Which of our keys to change, where the words say that the request does not fit into the model."""
        if not _TOO_LONG.search(words):
            return ""
        if self.context is not None:
            self.context.learn(words)
        answer = f"lower llms.{self.name}.max_tokens ({self.max_tokens}), " if self.max_tokens else ""
        now = f" (now {self.context.known.tokens}, {self.context.known.source})" if self.context is not None else ""
        return (
            f" (the request does not fit into its context: {answer}set llms.{self.name}.context_window{now}, "
            "or lower the agent's memory.working.budget where it is set)"
        )

    def _detail(self, words: str) -> str:
        words = words.encode(errors="replace").decode()  # half a surrogate pair cannot be sent on
        if self.api_key:
            words = words.replace(self.api_key, "…")
        return words if len(words) <= MAX_DETAIL else words[: MAX_DETAIL - 1] + "…"


def why_unreachable(cause: BaseException) -> str:
    """What kept a connection from being made, in words; empty where the system's own say nothing more."""
    link: BaseException | None = cause
    while link is not None:
        if isinstance(link, socket.gaierror):
            return "there is no host of that name"
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({link.verify_message.lower()})"
        if isinstance(link, ssl.SSLError):
            return "it does not speak TLS as we do; is its address one of http:?"
        if isinstance(link, ConnectionRefusedError):
            return "nobody listens there"
        link = link.__cause__ or link.__context__
    return ""


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _MAX_WORDS else words[: _MAX_WORDS - 1] + "…"


def _place(base_url: str) -> str:
    """The address without user, password and query."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
