"""Keys whose feature is to come: accepted, one warning each, none for what happens anyway."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.keys import schema_keys
from app.config.load import load_config
from app.config.not_built_yet import NOT_BUILT_YET


def warnings(folder: Path, text: str, **environ: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return [warning.replace(f"{folder}/", "") for warning in load_config(path, environ=environ).warnings]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("redis: {url: 'redis://localhost'}", "redis.url"),
    ],
)
def test_a_key_that_is_not_built_yet_warns_once(tmp_path: Path, text: str, key: str) -> None:
    [warning] = warnings(tmp_path, text)

    assert warning.startswith(f"config.yaml:1: {key}: not built yet; ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agents: {a: {reasoning: {on_crash: resume, engine: chain-of-thought}}}",
        "agents: {a: {tools: [search, t]}}\ntools: {mcp: {t: {command: x}}}",
        "security: {flow: ask}",
        "agents: {a: {tools: [], memory: {longterm: }}}",
        "agents: {a: {memory: {working: {strategy: buffer_window, budget: 9, window_size: 3}}}}",
        "agents: {a: {memory: {working: {strategy: summary_buffer, threshold: 0.5, target: 0.3}}}}",
        "embedders: {default: {type: local}}",
        "agents: {a: {memory: {longterm: {storage_scope: conversational}}}}",
        "compat: {vectorshift: {enabled: true}}",
        "redis: {url: '${REDIS_URL:-}'}",
        "tools:\ndocument_stores: {d: {paths: [x]}}\n",
        "llms: {x: {type: local, price: {prompt: 1}}}",
        "llms: {a: {type: scripted, structured_output: {type: object}}}",
    ],
)
def test_what_happens_anyway_does_not_warn(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, text) == []


def test_the_environment_is_warned_about_by_its_own_name(tmp_path: Path) -> None:
    assert warnings(tmp_path, "", HECTOR_REDIS__URL="redis://localhost") == [
        "HECTOR_REDIS__URL: redis.url: not built yet; several servers follow each other by their database"
    ]


def test_every_line_of_the_table_names_a_key_of_the_schema() -> None:
    known = {key.parts for key in schema_keys()}
    prefixes = {key[:end] for key in known for end in range(1, len(key) + 1)}

    assert [later.key for later in NOT_BUILT_YET if tuple(later.key.split(".")) not in prefixes] == []
