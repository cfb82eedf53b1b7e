"""What users paste from tutorials loads as it stands."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from app.config.load import ConfigError, LoadedConfig, load_config

SNIPPETS = {
    "memory": """
agents:
  assistant:
    memory:
      working:
        strategy: "summary_buffer"
        budget: 4000
      longterm:
        storage_scope: "session" # Session-scoped long-term memory
""",
    "sessions": """
sessions:
  timeout: "30m" # Session expires after 30 minutes of inactivity
  max_duration: "24h" # Maximum session duration
""",
    "streaming": """
agents:
  custom:
    streaming:
      chunk_size: 10 # Characters per chunk
      delay_ms: 50 # Delay between chunks
      buffer_size: 1024 # Buffer size
""",
    "window": """
agents:
  chatbot:
    reasoning:
      enable_streaming: true
    memory:
      working:
        strategy: "buffer_window"
        window_size: 20
""",
    "scopes": """
agents:
  support: {memory: {longterm: {storage_scope: "conversational"}}}
  risky: {memory: {longterm: {storage_scope: "all"}}}
  brief: {memory: {longterm: {storage_scope: "summaries_only"}}}
  debug: {reasoning: {show_debug_info: true}}
  slow: {reasoning: {enable_streaming: false}}
""",
}

CODER = """
agents:
  coder:
    reasoning:
      enable_streaming: true
      show_tool_execution: true
      show_thinking: true
    tools: ["write_file", "execute_command", "search"]
"""


def paste(folder: Path, name: str) -> LoadedConfig:
    path = folder / "config.yaml"
    path.write_text(SNIPPETS[name], encoding="utf-8")
    return load_config(path, environ={})


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_pasted_snippet_runs_on_the_embedded_model(tmp_path: Path, name: str) -> None:
    config = paste(tmp_path, name).config

    assert {config.llms[agent.llm].type for agent in config.agents.values()} == {"local"}


def test_pasted_session_limits_are_durations(tmp_path: Path) -> None:
    sessions = paste(tmp_path, "sessions").config.sessions

    assert (sessions.timeout, sessions.max_duration) == (timedelta(minutes=30), timedelta(hours=24))


def test_pasted_streaming_options_are_kept(tmp_path: Path) -> None:
    streaming = paste(tmp_path, "streaming").config.agents["custom"].streaming

    assert (streaming.chunk_size, streaming.delay_ms, streaming.buffer_size) == (10, 50, 1024)


def test_a_pasted_agent_with_commands_is_refused_with_three_lines_that_make_it_load(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CODER, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})

    [problem] = caught.value.problems
    head, *lines = problem.splitlines()
    assert head.startswith(f"{path}:8: agents.coder.tools[1]: execute_command runs no command until the file says")
    assert len(lines) == 3
    path.write_text(CODER + textwrap.dedent("\n".join(lines)), encoding="utf-8")
    assert load_config(path, environ={}).warnings == ()
