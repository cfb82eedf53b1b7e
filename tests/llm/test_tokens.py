"""Counting tokens: the right numbers, no text that breaks it, no text that stalls it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.llm.tokens import EncodingName, count, encoding_for

# (text, cl100k, o200k), as the engine of tiktoken 0.14 counts them.
KNOWN = [
    ("", 0, 0),
    ("hello world", 2, 2),
    ("The capital of France is Paris.", 7, 7),
    ("<|endoftext|>", 7, 7),
    ("a\r\nb\r\n", 4, 4),
    ("1234567890", 4, 4),
    ("Grüße 👋", 5, 5),
    ("日本語のテキスト", 8, 6),
    ("👨\u200d👩\u200d👧", 13, 8),
    ("I'll  they'VE\t\n x", 8, 7),
    ("def f(x):\n    return x + 1\n", 11, 11),
]


@pytest.mark.parametrize(("text", "cl100k", "o200k"), KNOWN)
def test_counts_are_those_of_the_reference_encoder(text: str, cl100k: int, o200k: int) -> None:
    assert (count(text, "cl100k"), count(text, "o200k")) == (cl100k, o200k)


def test_text_that_spells_a_special_token_is_ordinary_text() -> None:
    assert count("<|endoftext|> and <|fim_prefix|>") > 5


def test_half_a_surrogate_pair_counts_as_the_replacement_character() -> None:
    assert count("a \ud83d b") == count("a \ufffd b")


@pytest.mark.parametrize("text", ["x" * 200_000, " " * 200_000, "\n" * 200_000, "漢字仮名" * 50_000, "=-" * 100_000])
def test_one_endless_word_does_not_stall_the_counter(text: str) -> None:
    start = time.perf_counter()
    assert 0 < count(text) <= len(text.encode())
    assert time.perf_counter() - start < 10


def test_cutting_a_long_run_changes_the_count_by_little() -> None:
    assert count("a" * 1000) == 125


def test_what_the_encoder_remembers_stays_bounded() -> None:
    words = " ".join(f"q{n:x}z{n * 7919:x}" for n in range(80_000))
    count(words)
    started = time.perf_counter()
    count("short")
    assert time.perf_counter() - started < 1

    from app.llm.tokens import _REMEMBERED_WORDS, _encoder

    assert len(_encoder("o200k")._cache) <= _REMEMBERED_WORDS


def test_threads_agree() -> None:
    texts = [f"sentence number {n}, with words: {'word ' * (n % 50)}" for n in range(200)]
    expected = [count(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(count, texts)) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters()))
def test_any_text_has_at_most_a_token_per_byte(text: str) -> None:
    for encoding in ("cl100k", "o200k"):
        assert 0 <= count(text, encoding) <= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", ("o200k", True)),
        ("gpt-4o-mini-2024-07-18", ("o200k", True)),
        ("openai/gpt-4.1-mini", ("o200k", True)),
        ("ft:gpt-4o-mini:acme::abc", ("o200k", True)),
        ("gpt-5", ("o200k", True)),
        ("gpt-oss:20b", ("o200k", True)),
        ("o3-mini", ("o200k", True)),
        ("gpt-4", ("cl100k", True)),
        ("gpt-4-turbo", ("cl100k", True)),
        ("gpt-3.5-turbo", ("cl100k", True)),
        ("text-embedding-3-small", ("cl100k", True)),
        ("llama3.2", ("o200k", False)),
        ("claude-sonnet-4", ("o200k", False)),
        ("olmo-7b", ("o200k", False)),
        ("gpt-4all", ("o200k", False)),
        ("", ("o200k", False)),
    ],
)
def test_the_encoding_of_a_model_says_whether_it_is_exact(model: str, expected: tuple[EncodingName, bool]) -> None:
    assert encoding_for(model) == expected
