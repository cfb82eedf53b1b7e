"""Files as people have them, of this program and of Hector v1: each loads or is told what to write, with its line.

Each file says at its top what becomes of it: `loads`, `refused LINE: words`, `warned LINE: words`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.config.load import ConfigError, LoadedConfig, load_config

FILES = sorted((Path(__file__).parent / "files").glob("*.yaml"))


def promises(path: Path, word: str) -> list[tuple[str, str]]:
    """Line and words of each promise of one kind."""
    return re.findall(rf"^# {word} (\d+): (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def load(path: Path) -> LoadedConfig:
    return load_config(path, environ={})


def load_text(folder: Path, text: str, **environ: str) -> LoadedConfig:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ=environ)


def named(path: Path) -> str:
    return path.stem


def test_there_are_many_of_them() -> None:
    assert len(FILES) == 45


@pytest.mark.parametrize("path", [path for path in FILES if not promises(path, "refused")], ids=named)
def test_a_file_loads_and_every_change_of_it_is_told(path: Path) -> None:
    warnings = load(path).warnings

    for line, words in promises(path, "warned"):
        assert [one for one in warnings if one.startswith(f"{path}:{line}: ") and words in one], (line, words, warnings)


@pytest.mark.parametrize("path", [path for path in FILES if promises(path, "refused")], ids=named)
def test_a_file_is_refused_with_every_line_and_what_to_write(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path)

    expected = promises(path, "refused")
    for line, words in expected:
        found = [one for one in caught.value.problems if one.startswith(f"{path}:{line}: ") and words in one]
        assert found, (line, words, caught.value.problems)
    assert len(caught.value.problems) == len(expected)


def test_what_a_v1_file_says_is_what_is_served(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        "global: {a2a_server: {host: 127.0.0.1, port: 9001}, logging: {level: warn, format: simple}}\n"
        "llms: {m: {type: openai, model: x, api_key: k, timeout: 45}}\n"
        "agents:\n"
        "  a:\n"
        "    prompt: {prompt_slots: {system_role: One.}, instructions: Two.}\n"
        "    memory: {strategy: buffer_window, window_size: 4, long_term: {storage_scope: session, recall_limit: 3}}\n"
        "document_stores: [{name: d, path: src, include_patterns: ['*.md'], exclude_patterns: [out]}]\n",
    ).config

    agent, store, llm = config.agents["a"], config.document_stores["d"], config.llms["m"]
    assert (config.server.port, config.logging.level, config.logging.format) == (9001, "warning", "text")
    assert {llm.first_token_timeout.total_seconds(), llm.idle_timeout.total_seconds()} == {45}
    assert (agent.prompt.system_role, agent.prompt.additional) == ("One.", "Two.")
    assert (agent.memory.working.strategy, agent.memory.working.window_size) == ("buffer_window", 4)
    assert agent.memory.longterm is not None
    assert agent.memory.longterm.recall_limit == 3
    assert (store.paths, store.patterns, store.exclude) == ((tmp_path / "src",), ("**/*.md",), ("out",))


@pytest.mark.parametrize("word", ["longterm", "long_term"])
def test_long_term_memory_that_is_off_stays_off(tmp_path: Path, word: str) -> None:
    text = f"agents: {{a: {{memory: {{{word}: {{enabled: ${{REMEMBERS}}, storage_scope: session}}}}}}}}\n".replace(
        "${REMEMBERS}", "'${REMEMBERS}'"
    )

    off = load_text(tmp_path, text, REMEMBERS="false").config.agents["a"].memory.longterm
    on = load_text(tmp_path, text, REMEMBERS="true").config.agents["a"].memory.longterm

    assert off is None
    assert on is not None


def test_a_value_of_both_dialects_is_taken_from_ours_and_said(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "server: {port: 1}\nglobal: {a2a_server: {port: 2}}\n")

    assert loaded.config.server.port == 1
    [warning] = loaded.warnings
    assert warning.endswith("config.yaml:2: global.a2a_server.port: ignored, because server.port is there too")


def test_a_problem_with_a_moved_value_names_the_line_it_stands_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, "agents:\n  a:\n    memory:\n      budget: much\n")

    [problem] = caught.value.problems
    assert "config.yaml:4: agents.a.memory.working.budget: must be a whole number" in problem
