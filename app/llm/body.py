"""The body of a request: what is asked of a model, without what its provider is known to refuse."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

import orjson

from app.llm.base import LLMError, LLMRequest
from app.llm.formats import in_words, schema_of
from app.llm.presets import Quirks

log = logging.getLogger(__name__)

_CHOICES = ("auto", "none", "required")
_STREAM_OPTIONS = re.compile("stream.?options|include_usage")
_TOOL_CHOICE = re.compile("tool.?choice")
_RESPONSE_FORMAT = re.compile("response.?format|json.(?:schema|object|mode)|structured.outputs?")

# The part is understood, and what is in it is at fault: that is to be told, and not to be left out.
_AT_FAULT = re.compile("invalid.(?:json.)?schema|schema.{0,40}(?:invalid|missing|must be|required)|not found in")


class Bodies:
    """Makes the bodies for one model. `max_tokens` and `extra` are its own; a request may lower the former."""

    def __init__(
        self,
        model: str,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        extra: Mapping[str, object],
        quirks: Quirks,
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._extra = extra
        self._quirks = quirks
        self._heads: dict[int | None, bytes] = {}
        self._refused: set[str] = set() if quirks.has_stream_options else {"stream_options"}

    def make(self, request: LLMRequest) -> bytes:
        """The body as it is sent."""
        head = self._heads.get(request.max_tokens) or self._make_head(request.max_tokens)
        if not request.tools and request.response_format is None:
            return head + b",".join(request.messages) + b"]}"
        return b"".join((head, b",".join(self._messages(request)), b"]", *self._asked(request), b"}"))

    def learn(self, request: LLMRequest, error: LLMError) -> bool:
        """Whether the provider has refused a part that can be left out; from now on it is."""
        part = self._refused_part(request, error)
        if part is None:
            return False
        if part not in self._refused:
            self._refused.add(part)
            self._heads.clear()
            log.warning("model %r: its provider refuses %s; it is left out until the restart", self._model, part)
        return True

    def _make_head(self, max_tokens: int | None) -> bytes:
        """The body up to the messages, encoded once."""
        limits = [limit for limit in (self._max_tokens, max_tokens) if limit is not None]
        if not self._quirks.has_temperature:  # a reasoning model: its thinking counts, and would leave nothing to say
            limits = limits[:1] if self._max_tokens is not None else []
        body: dict[str, object] = {"model": self._model, "stream": True, **self._extra}
        if "stream_options" not in self._refused:
            body["stream_options"] = {"include_usage": True}
        if self._temperature is not None and self._quirks.has_temperature:
            body["temperature"] = self._temperature
        if limits:
            body[self._quirks.max_tokens_name] = min(limits)
        head = self._heads[max_tokens] = orjson.dumps(body)[:-1] + b',"messages":['
        return head

    def _asked(self, request: LLMRequest) -> list[bytes]:
        """The fields that say what to answer with."""
        fields: list[bytes] = []
        if request.tools:
            fields += [b',"tools":[', b",".join(request.tools), b"]"]
            if request.tool_choice is not None and _choice_part(request.tool_choice) not in self._refused:
                fields += [b',"tool_choice":', _choice(request.tool_choice)]
        if request.response_format is not None and self._takes(request.response_format):
            fields += [b',"response_format":', request.response_format]
        return fields

    def _takes(self, response_format: bytes) -> bool:
        """Whether the provider heeds this format, as far as that is known."""
        return self._quirks.has_response_format and (
            not self._refused or _format_part(response_format) not in self._refused
        )

    def _messages(self, request: LLMRequest) -> Sequence[bytes]:
        """The messages, with the format in words where the provider does not heed it.

        An object of any form is always told: OpenAI refuses `json_object` where no message says JSON.
        """
        wanted = request.response_format
        if wanted is None or (self._takes(wanted) and schema_of(wanted) is not None):
            return request.messages
        return _told(request.messages, in_words(wanted))

    def _refused_part(self, request: LLMRequest, error: LLMError) -> str | None:
        if error.status is not None and not 400 <= error.status < 500:
            return None
        words = (error.detail or str(error)).lower()
        if _STREAM_OPTIONS.search(words):
            return "stream_options"
        if _AT_FAULT.search(words):
            return None
        if request.tools and request.tool_choice is not None and _TOOL_CHOICE.search(words):
            return _choice_part(request.tool_choice)
        if request.response_format is not None and _RESPONSE_FORMAT.search(words):
            return _format_part(request.response_format)
        return None


def _told(messages: Sequence[bytes], words: str) -> list[bytes]:
    """The messages with an instruction at the end of the system message."""
    first = orjson.loads(messages[0]) if messages else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return [orjson.dumps({**first, "content": f"{first['content']}\n\n{words}"}), *messages[1:]]
    return [orjson.dumps({"role": "system", "content": words}), *messages]


def _choice(tool_choice: str) -> bytes:
    if tool_choice in _CHOICES:
        return b'"%b"' % tool_choice.encode()
    return orjson.dumps({"type": "function", "function": {"name": tool_choice}})


def _choice_part(tool_choice: str) -> str:
    """Some take one word and refuse another, so that each is remembered by itself."""
    return f"tool_choice {tool_choice if tool_choice in _CHOICES else 'function'}"


def _format_part(response_format: bytes) -> str:
    return f"response_format {orjson.loads(response_format).get('type')}"
