"""Who makes a call: metadata are read as strictly as headers, and guesses are braked by the same brake."""

from __future__ import annotations

import pytest

from app.auth.authenticate import Authenticator
from app.auth.brake import Brake
from app.domain.errors import InvalidRequest, QuotaExceeded, Unauthenticated
from app.doors.callers import admit
from tests.fixtures.keys import plain_keys

PEER = "ipv4:192.0.2.7:50123"
KEY = ("authorization", "Bearer secret")


def authenticator(allowed: int | None = None) -> Authenticator:
    return Authenticator(plain_keys(alice="secret"), Brake(allowed=allowed, longest_seconds=60))


def test_a_call_has_the_principal_of_its_key_and_the_user_it_names() -> None:
    assert admit(authenticator(), [KEY], PEER).id == "alice"
    assert admit(authenticator(), [KEY, ("x-user-id", "UTF-8''J%C3%BCrgen")], PEER).user_id == "Jürgen"
    assert admit(authenticator(), [KEY, ("x-user-id-bin", "Jürgen".encode())], PEER).user_id == "Jürgen"


@pytest.mark.parametrize(
    "metadata", [[KEY, KEY], [KEY, ("x-user-id", "ann"), ("x-user-id", "ben")], [KEY, ("x-user-id", "")]]
)
def test_what_decides_stands_once_and_says_something(metadata: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(InvalidRequest):
        admit(authenticator(), metadata, PEER)


def test_an_address_that_guesses_over_grpc_has_to_wait() -> None:
    guarded, wrong = authenticator(allowed=2), [("authorization", "Bearer guess")]
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            admit(guarded, wrong, PEER)

    with pytest.raises(QuotaExceeded):
        admit(guarded, wrong, "ipv4:192.0.2.7:50999")
    with pytest.raises(QuotaExceeded):
        admit(guarded, [KEY], PEER)
    assert admit(guarded, [KEY], "ipv4:192.0.2.8:50123").id == "alice"
