"""Entries of `llms` and `embedders`: keys, addresses and defaults as they are understood."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from app.config.address import base_address
from app.config.llm import EmbedderConfig, LLMConfig
from app.config.load import ConfigError, LoadedConfig, load_config


def loaded(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ=environ or {})


@pytest.mark.parametrize("key", [" sk-1 ", "sk-1\n", "\tsk-1\r\n", "sk-1"])
def test_a_key_is_trimmed(key: str) -> None:
    llm = LLMConfig.model_validate({"type": "openai", "model": "m", "api_key": key})
    embedder = EmbedderConfig.model_validate({"type": "openai", "api_key": key})
    assert llm.api_key is not None
    assert embedder.api_key is not None
    assert [llm.api_key.get_secret_value(), embedder.api_key.get_secret_value()] == ["sk-1", "sk-1"]


@pytest.mark.parametrize(
    "key", ["sk\x001", "sk\n1", "sk 1", "sk\u00a01", "sk-é", "“sk-1”", "ключ", "sk\u200b1", "sk\x7f"]
)
@pytest.mark.parametrize("section", ["llms", "embedders"])
def test_a_key_that_no_header_can_carry_is_refused_at_start(tmp_path: Path, key: str, section: str) -> None:
    text = section + ": {x: {type: openai, model: m, api_key: '${KEY}'}}\n"
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, {"KEY": key})
    assert f"{section}.x.api_key: must be ASCII without spaces, for it travels in a header" in str(caught.value)
    assert key not in str(caught.value)


def test_a_key_of_the_environment_is_looked_at_as_well(tmp_path: Path) -> None:
    text = "llms: {x: {type: openai, model: m}}\n"
    with pytest.raises(ConfigError, match=r"llms\.x\.api_key: must be ASCII"):
        loaded(tmp_path, text, {"OPENAI_API_KEY": "ключ"})
    assert loaded(tmp_path, text, {"OPENAI_API_KEY": " sk-1\n"}).config.llms["x"].is_configured
    assert not loaded(tmp_path, text, {"OPENAI_API_KEY": " \n"}).config.llms["x"].is_configured


@pytest.mark.parametrize(
    ("kind", "host", "address"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("openai", "https://API.OpenAI.com/", "https://API.OpenAI.com/v1"),
        ("openai", "https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com//v1//embeddings/", "https://api.openai.com/v1"),
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
        ("gemini", "https://generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("openrouter", "https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("openai", "https://api.groq.com/chat/completions", "https://api.groq.com/openai/v1"),
        ("ollama", "http://localhost:11434", "http://localhost:11434/v1"),
        ("ollama", "http://box.lan", "http://box.lan/v1"),
        ("ollama", "http://box.lan:11434/api/chat", "http://box.lan:11434/v1"),
        ("ollama", "http://box.lan:11434/api", "http://box.lan:11434/v1"),
        ("openai", "http://localhost:11434/", "http://localhost:11434/v1"),
        ("openai", "http://localhost:1234", "http://localhost:1234/v1"),
        ("vllm", "http://gpu:8000/v1/models", "http://gpu:8000/v1"),
        ("vllm", "http://user:pw@gpu:8000", "http://user:pw@gpu:8000/v1"),
        ("openai", "https://x.openai.azure.com/?api-version=preview", "https://x.openai.azure.com/openai/v1?api-version=preview"),
        (
            "openai",
            "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-06-01",
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-06-01",
        ),
        ("openai", " https://my.gateway/llm \n", "https://my.gateway/llm"),
        ("openai", "https://my.gateway/llm#frag", "https://my.gateway/llm"),
        ("openai", "https://my.gateway", "https://my.gateway"),
        ("openai", "https://api.openai.com.my.gateway", "https://api.openai.com.my.gateway"),
    ],
)  # fmt: skip
def test_a_pasted_address_is_understood(kind: str, host: str, address: str) -> None:
    assert base_address(host, kind) == address
    assert base_address(address, kind) == address


@pytest.mark.parametrize(
    "host", ["localhost:11434", "ftp://x/v1", "http://", "http:///v1", "http://x:y/v1", "http://[::1/v1"]
)
@pytest.mark.parametrize("section", ["llms", "embedders"])
def test_what_is_no_address_is_refused_at_start(tmp_path: Path, host: str, section: str) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.x\.host: (must be|is no) "):
        loaded(tmp_path, f"{section}: {{x: {{type: openai, model: m, host: '{host}'}}}}\n")


def test_an_address_read_in_another_way_is_told_without_its_password(tmp_path: Path) -> None:
    text = (
        "llms:\n"
        "  a: {type: openai, model: m, host: 'https://api.openai.com/v1/'}\n"
        "  b:\n    type: vllm\n    model: m\n    host: http://user:secret@gpu:8000/v1/chat/completions\n"
        "agents: {x: {llm: a}}\n"
        "embedders: {e: {type: openai, host: 'http://localhost:11434'}}\n"
    )
    found = loaded(tmp_path, text).warnings
    assert [warning.partition(".yaml:")[2] for warning in found] == [
        "6: llms.b.host: 'http://***@gpu:8000/v1/chat/completions' is read as 'http://***@gpu:8000/v1'",
        "8: embedders.e.host: 'http://localhost:11434' is read as 'http://localhost:11434/v1'",
    ]


@pytest.mark.parametrize(
    ("kind", "max_tokens", "temperature", "minutes"),
    [("openai", 8000, 0.7, 1), ("ollama", None, 0.7, 5), ("vllm", None, 0.7, 5), ("local", 512, 0.3, 1)],
)
def test_defaults_fit_the_type_and_what_is_written_beats_them(
    kind: str, max_tokens: int | None, temperature: float, minutes: int
) -> None:
    llm = LLMConfig.model_validate({"type": kind, "model": "m"})
    assert (llm.max_tokens, llm.temperature) == (max_tokens, temperature)
    assert llm.first_token_timeout == timedelta(minutes=minutes)
    written = LLMConfig.model_validate(
        {"type": kind, "model": "m", "max_tokens": 7, "temperature": 1, "first_token_timeout": "9s"}
    )
    assert (written.max_tokens, written.temperature) == (7, 1)
    assert written.first_token_timeout == timedelta(seconds=9)


def test_a_script_asks_for_tools(tmp_path: Path) -> None:
    text = """
llms:
  demo:
    type: scripted
    script:
      - text: I write it.
        when: hello
        calls:
          - {name: write_file, arguments: {path: hello.py, lines: [1, null]}}
          - {name: look}
          - {name: x, arguments: "{"}
"""
    script = loaded(tmp_path, text).config.llms["demo"].script
    assert script is not None
    assert script[0].when == "hello"
    assert [(call.name, call.arguments) for call in script[0].calls] == [
        ("write_file", {"path": "hello.py", "lines": [1, None]}),
        ("look", {}),
        ("x", "{"),
    ]


def test_a_condition_of_a_script_is_a_regular_expression(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "llms: {demo: {type: scripted, script: [{text: a, when: '(b'}]}}\n")
    assert "llms.demo.script[0].when: must be a regular expression: missing ), unterminated" in str(caught.value)
