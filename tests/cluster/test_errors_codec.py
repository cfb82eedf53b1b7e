"""Every error of the tree comes out of the wire as it went in."""

from __future__ import annotations

import orjson
import pytest

from app.cluster import errors_codec
from app.domain import errors
from app.domain.errors import HectorError, overloaded, session_over

KINDS = [kind for kind in HectorError.__subclasses__() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_kind_reason_words_and_details_travel(kind: type[HectorError]) -> None:
    sent = kind("A sentence – with ünïcode.", reason="a_reason", details={"turn_id": "t1", "list": [1, None]})
    got = errors_codec.decode(errors_codec.encode(sent))
    assert type(got) is kind
    assert (got.message, got.reason, got.details) == (sent.message, sent.reason, sent.details)
    assert str(got) == str(sent)


def test_all_kinds_are_tested() -> None:
    assert len(KINDS) >= 13


def test_the_reason_of_the_kind_and_the_advice_when_to_retry_travel() -> None:
    got = errors_codec.decode(errors_codec.encode(overloaded("Too much is going on")))
    assert isinstance(got, errors.Unavailable)
    assert (got.reason, got.retry_after_seconds) == ("overloaded", 5)
    over = errors_codec.decode(errors_codec.encode(session_over("ended", "s1")))
    assert (type(over), over.reason) == (errors.SessionOver, "session_ended")


def test_a_kind_that_another_room_defines_is_the_one_it_is_made_of() -> None:
    class Special(errors.Conflict):
        reason = "special"

    got = errors_codec.decode(errors_codec.encode(Special("No.")))
    assert (type(got), got.reason) == (errors.Conflict, "special")


def test_a_kind_of_a_newer_release_is_our_fault_with_its_reason() -> None:
    told = orjson.loads(errors_codec.encode(errors.NotFound("No.", reason="new_reason"))) | {"kind": "Unheard"}
    got = errors_codec.decode(orjson.dumps(told))
    assert (type(got), got.reason, got.message) == (errors.Internal, "new_reason", "No.")
