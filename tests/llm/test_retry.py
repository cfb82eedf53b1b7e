"""Which failures get another try, and after how long."""

from __future__ import annotations

import pytest

from app.llm.base import LLMError
from app.llm.retry import Retries, is_retryable_status, retry_after

NOW = 1_760_000_000.0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_limits_and_faults_of_the_server_are_worth_another_try(status: int) -> None:
    assert is_retryable_status(status)
    assert not is_retryable_status(status, {"x-should-retry": "false"})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_our_own_faults_are_not(status: int) -> None:
    assert not is_retryable_status(status)
    assert is_retryable_status(status, {"x-should-retry": "true"})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "Thu, 09 Oct 2025 08:53:30 GMT"}, 10.0),
        ({"retry-after": "Thu, 09 Oct 2025 08:53:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "whenever"}, None),
    ],
)
def test_the_providers_wish_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_delays_double_up_to_a_limit_and_end_with_the_attempts() -> None:
    retries = Retries(7, random=lambda: 0.0)
    error = LLMError("busy", retryable=True)
    assert [retries.delay_after(error) for _ in range(8)] == [0.5, 1, 2, 4, 8, 8, 8, None]


def test_chance_spreads_the_delays() -> None:
    error = LLMError("busy", retryable=True)
    assert Retries(1, random=lambda: 1.0).delay_after(error) == 0.375
    assert Retries(1, random=lambda: 0.5).delay_after(LLMError("b", retryable=True, retry_after=4)) == 4.5


def test_what_is_not_retryable_and_what_takes_too_long_is_not_tried_again() -> None:
    assert Retries(3).delay_after(LLMError("no")) is None
    assert Retries(3).delay_after(LLMError("tomorrow", retryable=True, retry_after=3600)) is None
