"""The brake: guesses have to wait, and those who have a key do not."""

from __future__ import annotations

import pytest

from app.auth import brake as module
from app.auth.authenticate import Authenticator
from app.auth.brake import FORGET_SECONDS, Brake, network_of
from app.domain.errors import QuotaExceeded, Unauthenticated
from app.domain.principal import Principal
from tests.fixtures.keys import plain_keys


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> Authenticator:
    return Authenticator(plain_keys(alice="right"), Brake(allowed=3, longest_seconds=60, clock=clock))


def guess(keys: Authenticator, number: int = 1, *, address: str = "192.0.2.7") -> None:
    for _ in range(number):
        with pytest.raises(Unauthenticated):
            keys.authenticate("Bearer wrong", address)


def wait_of(keys: Authenticator, key: str = "wrong", *, address: str = "192.0.2.7") -> int:
    with pytest.raises(QuotaExceeded) as refused:
        keys.authenticate(f"Bearer {key}", address)
    return refused.value.retry_after_seconds


def test_after_some_wrong_keys_each_further_one_costs_twice_the_time(keys: Authenticator, clock: Clock) -> None:
    guess(keys, 4)
    waits = []
    for _ in range(8):
        waits.append(wait_of(keys))
        clock.now += waits[-1]
        guess(keys)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_an_address_that_begins_to_wait_is_told_once(
    keys: Authenticator, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(8):
        guess(keys)
        clock.now += 60
    assert [record.getMessage() for record in caplog.records] == [
        "4 wrong keys came from 192.0.2.7; it has to wait between guesses from now on"
    ]


def test_while_an_address_waits_the_right_key_tells_nothing(keys: Authenticator, clock: Clock) -> None:
    guess(keys, 4)
    assert wait_of(keys, "right") == wait_of(keys, "wrong") == 1
    clock.now += 1
    assert keys.authenticate("Bearer right", "192.0.2.7") == Principal("alice", "key")


def test_a_key_that_was_used_from_the_address_goes_on_working(keys: Authenticator) -> None:
    keys.authenticate("Bearer right", "192.0.2.7")
    guess(keys, 4)
    assert wait_of(keys) == 1
    assert keys.authenticate("Bearer right", "192.0.2.7").id == "alice"


def test_other_addresses_do_not_wait(keys: Authenticator) -> None:
    guess(keys, 4)
    assert keys.authenticate("Bearer right", "192.0.2.8").id == "alice"
    guess(keys, 3, address="192.0.2.9")


def test_a_subscriber_of_ipv6_is_one_address(keys: Authenticator) -> None:
    for number in range(4):
        guess(keys, address=f"2001:db8:1:2::{number}")
    assert wait_of(keys, address="2001:db8:1:2:ffff::9") == 1
    guess(keys, address="2001:db8:1:3::1")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
        ("testclient", "testclient"),
    ],
)
def test_addresses(address: str, network: str) -> None:
    assert network_of(address) == network


def test_who_stops_guessing_starts_again(keys: Authenticator, clock: Clock) -> None:
    guess(keys, 4)
    clock.now += FORGET_SECONDS + 1
    guess(keys, 4)
    assert wait_of(keys) == 1


def test_no_key_is_no_guess(keys: Authenticator) -> None:
    for header in (None, "", "Bearer", "Bearer "):
        for _ in range(10):
            with pytest.raises(Unauthenticated):
                keys.authenticate(header, "192.0.2.7")
    guess(keys, 3)


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    brake = Brake(allowed=1, longest_seconds=60, clock=clock)
    for number in range(100):
        brake.note_wrong(f"192.0.2.{number}")
        brake.note_right(f"198.51.100.{number}", "alice")
    assert (len(brake._guessers), len(brake._known)) == (10, 10)


def test_it_can_be_switched_off(clock: Clock) -> None:
    keys = Authenticator(plain_keys(alice="right"), Brake(allowed=None, longest_seconds=60, clock=clock))
    guess(keys, 100)


def test_who_comes_over_no_network_is_never_told_to_wait(keys: Authenticator) -> None:
    guess(keys, 100, address="")
