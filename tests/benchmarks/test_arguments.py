"""Every benchmark takes its arguments. None of them is run here: time has no place in a test."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

NAMES = [
    "choices",
    "doors",
    "followers",
    "history",
    "rpc",
    "sessions",
    "slow",
    "stops",
    "streams",
    "vectorshift",
    "websocket",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_takes_the_folder_of_its_instruments(name: str) -> None:
    options = importlib.import_module(f"benchmarks.{name}").parser().parse_args(["--bench", "there"])

    assert (options.bench, options.out) == (Path("there"), None)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_refuses_to_run_without_instruments(name: str) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(f"benchmarks.{name}").main([])


def test_the_benchmark_of_memories_needs_no_instruments() -> None:
    options = importlib.import_module("benchmarks.memories").parser().parse_args([])

    assert (options.database_url, options.users, options.each, options.large) == (None, 1000, 100, 50_000)


def test_the_benchmark_of_the_wire_needs_a_database_only() -> None:
    options = importlib.import_module("benchmarks.wire").parser().parse_args(["--database-url", "there"])

    assert (options.database_url, options.calls) == ("there", 1000)
