"""The `llms` and `embedders` sections: which model, where, with what patience."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from app.config.address import base_address, checked_address
from app.config.section import Section
from app.config.units import Wait

LLMType = Literal["local", "scripted", "openai", "anthropic", "gemini", "ollama", "vllm", "openrouter"]

KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
}
"""The types that need a key, and the environment variable that gives it when the entry does not."""

HOST_VARIABLES = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL", "ollama": "OLLAMA_HOST"}
"""The types whose host may come from the environment, when the entry names none."""

_WITHOUT_MODEL = ("local", "scripted")

USUAL_ANSWER = 8000
"""Tokens of the longest answer where the configuration does not say."""

_OWN_SERVER: dict[str, Any] = {"max_tokens": None, "first_token_timeout": timedelta(minutes=5)}
_DEFAULTS: dict[str, dict[str, Any]] = {
    # A model of this size talks on and on: longer answers are loops.
    "local": {"max_tokens": 512, "temperature": 0.3},
    # A server of one's own loads its model first, and counts `max_tokens` against a context that may be small.
    "ollama": _OWN_SERVER,
    "vllm": _OWN_SERVER,
}
"""Defaults that depend on the type."""


def _is_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"must be a regular expression: {exc}") from None
    return pattern


class ScriptedCall(Section):
    """One tool call that a scripted model asks for."""

    name: str = Field(min_length=1)
    """Name of the tool."""
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    """Its arguments; a text is sent as it is, as of a model that writes no JSON."""


class ScriptedAnswer(Section):
    """One answer of a scripted model, for demonstrations and tests."""

    text: str = ""
    """The answer."""
    thinking: str | None = None
    """Thinking shown before the answer."""
    first_delay_ms: float = Field(default=0, ge=0)
    """Milliseconds before the first chunk."""
    delay_ms: float = Field(default=0, ge=0)
    """Milliseconds before each further chunk."""
    chunk: Literal["word", "char", "whole"] = "word"
    """How the text is cut."""
    fail_after: int | None = Field(default=None, ge=0)
    """Fails after this many chunks; null does not fail."""
    error: str | None = None
    """What the failure says; without `fail_after` it comes before the first chunk."""
    hang: bool = False
    """Sends its chunks and then neither ends nor fails."""
    calls: tuple[ScriptedCall, ...] = ()
    """Tool calls asked for after the text."""
    when: Annotated[str, AfterValidator(_is_pattern)] | None = Field(default=None, min_length=1)
    """A regular expression: given only when it is found in the newest message or tool result; null: in turn."""


def _from_text(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


Answer = Annotated[ScriptedAnswer, BeforeValidator(_from_text)]


def _fit_for_a_header(key: SecretStr) -> SecretStr:
    """The key without white space around it, which pasting brings along. Sentences never repeat it."""
    secret = key.get_secret_value().strip()
    if not all("!" <= character <= "~" for character in secret):
        raise ValueError("must be ASCII without spaces, for it travels in a header")
    return SecretStr(secret)


Address = Annotated[str, AfterValidator(checked_address)]
ProviderKey = Annotated[SecretStr, AfterValidator(_fit_for_a_header)]


def _with_address(given: object) -> object:
    """The entry with `host` as the base address that it means."""
    if not isinstance(given, dict) or not isinstance(given.get("host"), str):
        return given
    return {**given, "host": base_address(given["host"], str(given.get("type", "")))}


def _as_schema(given: object) -> object:
    """The JSON schema in what v1 wrote around it."""
    if not isinstance(given, dict) or not {"format", "schema"} & set(given):
        return given
    if given.get("format", "json") not in ("json", "enum"):
        raise ValueError("only format: json is known")
    if given.get("enum"):
        return {"type": "string", "enum": given["enum"]}
    if not isinstance(given.get("schema"), dict):
        raise ValueError("needs a `schema`: a JSON schema")
    return given["schema"]


def _checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if not {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"} & set(schema):
        raise ValueError("must be a JSON schema, such as {type: object, properties: …}")
    # Loaded where a schema is written: it takes as long as the rest of the configuration.
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        orjson.dumps(schema)
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except TypeError as error:
        raise ValueError(f"must be JSON: {error}") from None
    except SchemaError as error:
        raise ValueError(f"must be a JSON schema: {error.json_path} {error.message[:200]}") from None
    return schema


AnswerSchema = Annotated[dict[str, Any], BeforeValidator(_as_schema), AfterValidator(_checked_schema)]


class PriceConfig(Section):
    """What a model costs."""

    prompt: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens, in any currency."""
    completion: float = Field(default=0.0, ge=0)
    """Price of a million completion tokens."""


class LLMConfig(Section):
    """One model that agents may name."""

    type: LLMType
    """Who answers: the embedded model, a script, or a provider."""
    model: str | None = Field(default=None, min_length=1)
    """The provider's name of the model; for `local` a GGUF file, null being the embedded model."""
    api_key: ProviderKey | None = None
    """Secret of the provider; absent: its usual variable, such as OPENAI_API_KEY. Empty: not configured."""
    host: Address | None = None
    """Base address of the API, such as `http://localhost:11434/v1`; null is the provider's own."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """How freely words are chosen, 0 to 2; null leaves it to the provider. Left out for `local`: 0.3."""
    max_tokens: int | None = Field(default=USUAL_ANSWER, ge=1)
    """Longest answer in tokens; null leaves it to the provider. Left out: `local` 512, `ollama` and `vllm` null."""
    context_window: int | None = Field(default=None, ge=1)
    """Tokens it takes in, answer included; null: as the provider says, or by its name."""
    connect_timeout: Wait = timedelta(seconds=10)
    """How long to wait for a connection."""
    first_token_timeout: Wait = timedelta(seconds=60)
    """How long to wait for the first token. Left out for `ollama` and `vllm`: 5m."""
    idle_timeout: Wait = timedelta(seconds=60)
    """How long to wait between two tokens."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a failure that came before the first token."""
    max_concurrency: int | None = Field(default=None, ge=1)
    """Calls at the same time, the others wait; null sets no limit."""
    script: tuple[Answer, ...] | None = Field(default=None, min_length=1)
    """Answers of a `scripted` model in turn, per session: texts or the keys below; null repeats the user's text."""
    price: PriceConfig | None = None
    """What its tokens cost."""
    structured_output: AnswerSchema | None = None
    """JSON schema that its answers fit, or v1's `{format: json, schema: …}`; null: answers in words."""

    @model_validator(mode="before")
    @classmethod
    def _is_filled_in(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        defaults = _DEFAULTS.get(str(given.get("type")), {})
        window = given.get("context_window")
        if type(window) is int and window > 0 and "max_tokens" not in defaults:
            defaults = {**defaults, "max_tokens": min(USUAL_ANSWER, max(window // 4, 1))}
        return _with_address({**defaults, **given})

    @model_validator(mode="after")
    def _fits_its_type(self) -> LLMConfig:
        if self.model is None and self.type not in _WITHOUT_MODEL:
            raise ValueError(f"type {self.type!r} needs a `model`")
        if self.script is not None and self.type != "scripted":
            raise ValueError("`script` belongs to type 'scripted'")
        return self

    @property
    def is_configured(self) -> bool:
        """Whether nothing but the network stands between us and an answer: a needed key is there."""
        return self.type not in KEY_VARIABLES or bool(self.api_key and self.api_key.get_secret_value())

    @property
    def is_embedded(self) -> bool:
        """Whether this is the small model that comes with Hector."""
        return self.type == "local" and self.model is None

    def at(self, folder: Path) -> LLMConfig:
        """The same model, the relative path of a local file taken from `folder` (absolute)."""
        if self.type != "local" or self.model is None:
            return self
        return self.model_copy(update={"model": str(folder / Path(self.model).expanduser())})


class EmbedderConfig(Section):
    """One way to turn texts into vectors."""

    type: Literal["local", "openai", "ollama", "none"] = "local"
    """Who embeds: the embedded model, an OpenAI-compatible server, Ollama, or nobody."""
    model: str | None = Field(default=None, min_length=1)
    """Name of the model; null is the usual one of its type."""
    host: Address | None = None
    """Base address of the API, such as `http://localhost:11434/v1`; null is OpenAI's, or Ollama's on this machine."""
    api_key: ProviderKey | None = None
    """Secret of the provider; absent: OPENAI_API_KEY."""
    dimension: int | None = Field(default=None, ge=1)
    """Length of a vector; null is the model's own."""

    @model_validator(mode="before")
    @classmethod
    def _is_filled_in(cls, given: object) -> object:
        return _with_address(given)


assert set(KEY_VARIABLES) < set(get_args(LLMType))
