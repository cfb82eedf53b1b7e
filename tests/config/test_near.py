"""Hints: a slip of the finger is recognised, an opposite or another word is not."""

from __future__ import annotations

import pytest

from app.config.keys import explain_unknown
from app.config.near import near_name


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("prot", ["host", "port"], "port"),
        ("max_mesage", ["max_message", "max_body"], "max_message"),
        ("maxMessage", ["max_message", "max_body"], "max_message"),
        ("temprature", ["temperature"], "temperature"),
        ("api-key", ["api_key"], "api_key"),
        ("stragety", ["strategy"], "strategy"),
        ("denied_commands", ["allowed_commands"], None),
        ("exclude_patterns", ["patterns", "paths"], None),
        ("exclude_patterns", ["include_patterns"], None),
        ("min_message", ["max_message"], None),
        ("host", ["port", "cost"], "cost"),
        ("tls", ["host", "port"], None),
        ("x" * 100_000, ["port"], None),
    ],
)
def test_a_name_is_told_only_if_it_was_meant(name: str, known: list[str], meant: str | None) -> None:
    assert near_name(name, known) == meant


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (("agents", "a", "enable_streaming"), "belongs under agents.<name>.reasoning"),
        (("agents", "a", "reasoning", "llm"), "belongs under agents.<name>"),
        (("agents", "a", "prompt", "max_iterations"), "known here: "),
        (("agents", "a", "timeout"), "known here: "),
        (("agents", "a", "reasoning", "budget"), "known here: "),
        (("memory",), "belongs under agents.<name>"),
        (("on_busy",), "belongs under sessions"),
        (("server", "level"), "known here: "),
    ],
)
def test_a_hint_stays_within_the_section(key: tuple[str, ...], hint: str) -> None:
    assert hint in explain_unknown(key)
