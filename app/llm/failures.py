"""From what went wrong below to an `LLMError` that a user understands. The key never appears in one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import openai

from app.llm.base import LLMError, LLMTimeout
from app.llm.dialect import words_of
from app.llm.retry import is_retryable_status, retry_after

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


@dataclass(frozen=True, slots=True)
class Failures:
    """Makes the errors of one model. `key_name` is what to set where a key is missing or wrong."""

    model: str
    base_url: str
    api_key: str | None = None
    key_name: str | None = None

    @property
    def _who(self) -> str:
        return f"The model {self.model!r} at {_place(self.base_url)}"

    def missing_key(self) -> LLMError:
        return LLMError(f"{self._who} needs a key: set {self.key_name or 'api_key'}")

    def unreachable(self, cause: BaseException) -> LLMError:
        # An idle connection that the other side had just closed breaks when used again: no need to wait then.
        is_stale = type(cause) in (httpx2.RemoteProtocolError, httpx2.NetworkError)
        return LLMError(
            f"{self._who} cannot be reached",
            detail=self._detail(str(cause)),
            retryable=True,
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

    def reported(self, words: str, code: int | None) -> LLMError:
        """A failure that the provider reported inside the stream."""
        detail = self._detail(words)
        return LLMError(
            f"{self._who} failed: {_short(detail)}",
            detail=detail,
            status=code,
            retryable=code is not None and is_retryable_status(code),
        )

    def translated(self, exc: openai.OpenAIError, connect_timeout: float) -> LLMError:
        if isinstance(exc, openai.APIStatusError):
            return self._status(exc)
        if isinstance(exc, openai.APITimeoutError):
            return self.timeout("could not be connected to within", connect_timeout)
        return self.unreachable(exc.__cause__ or exc)

    def _status(self, exc: openai.APIStatusError) -> LLMError:
        status, headers = exc.status_code, exc.response.headers
        detail = self._detail(words_of(exc.body) if exc.body else "")
        said = f": {_short(detail)}" if detail else ""
        advice = f" (check {self.key_name})" if status == 401 and self.key_name else ""
        return LLMError(
            f"{self._who} {_REFUSALS.get(status, 'failed')}{advice}, status {status}{said}",
            detail=detail or None,
            status=status,
            # An empty purse looks like a limit, but waiting does not fill it.
            retryable=is_retryable_status(status, headers) and exc.code != "insufficient_quota",
            retry_after=retry_after(headers, time.time()),
        )

    def _detail(self, words: str) -> str:
        words = words.encode(errors="replace").decode()  # half a surrogate pair cannot be sent on
        if self.api_key:
            words = words.replace(self.api_key, "…")
        return words if len(words) <= MAX_DETAIL else words[: MAX_DETAIL - 1] + "…"


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _MAX_WORDS else words[: _MAX_WORDS - 1] + "…"


def _place(base_url: str) -> str:
    """The address without user, password and query."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
