"""Addresses: what a user writes, what a lock file says, and where a request then goes."""

from __future__ import annotations

import pytest

from app.cli.addresses import normal_url, reachable
from app.cli.failures import CommandFailed


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://:::8080", "http://[::1]:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.0.0.1:0", None),
        ("unix:/tmp/x.sock", "unix:/tmp/x.sock"),
        ("", None),
    ],
)
def test_the_address_to_connect_to_follows_from_the_one_listened_on(listening: str, url: str | None) -> None:
    assert reachable(listening) == url


def test_an_address_may_come_without_scheme_and_with_a_path() -> None:
    assert normal_url("localhost:8080") == "http://localhost:8080"
    assert normal_url("https://example.org/hector/") == "https://example.org/hector"
    for wrong in ("ftp://x", "http://", "http://x:nine"):
        with pytest.raises(CommandFailed):
            normal_url(wrong)
