"""What the environment may put into a configuration."""

from __future__ import annotations

import pytest

from app.config.variables import fill, settings


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${NAME}", "ada"),
        ("a ${NAME} b ${NAME}", "a ada b ada"),
        ("${NAME:-other}", "ada"),
        ("${NONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${NONE:-}", ""),
        ("$${NAME}", "${NAME}"),
        ("$NAME costs 5$", "$NAME costs 5$"),
    ],
)
def test_references_are_filled_in(text: str, filled: str) -> None:
    assert fill(text, {"NAME": "ada", "EMPTY": ""}) == filled


def test_what_a_variable_contains_is_not_looked_at_again() -> None:
    assert fill("${A}", {"A": "${B}", "B": "deep"}) == "${B}"


def test_a_missing_variable_is_named_with_the_two_ways_out() -> None:
    with pytest.raises(ValueError, match=r"variable KEY is not set; set it or write \$\{KEY:-default\}"):
        fill("${KEY}", {})


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-b}", "${A B}", "${A"])
def test_a_broken_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="begins a reference"):
        fill(text, {"A": "x"})


def test_a_setting_is_section_and_key_in_capitals() -> None:
    found, problems = settings({"HECTOR_SERVER__PORT": "9000", "PATH": "/bin", "HECTOR_CONFIG": "x.yaml"})

    assert found == {("server", "port"): ("HECTOR_SERVER__PORT", "9000")}
    assert problems == []


def test_an_empty_setting_counts_as_not_set() -> None:
    assert settings({"HECTOR_SERVER__PORT": ""}) == ({}, [])


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("HECTOR_SERVER__PROT", "unknown key server.prot; did you mean 'port'?"),
        ("HECTOR_AUTH__KEYS", "the environment sets keys of server, storage, events, logging, cluster, redis only"),
        ("HECTOR_SERVER__CORS_ORIGINS", "server.cors_origins is a list; write it in the file"),
        ("HECTOR_LOGGING__FORMAT__X", "unknown key logging.format.x; known here: access, audit, format, level"),
    ],
)
def test_a_setting_that_names_no_single_value_is_refused(variable: str, sentence: str) -> None:
    assert settings({variable: "x"}) == ({}, [f"{variable}: {sentence}"])
