"""Bodies: JSON whatever the content type says, no larger than allowed."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest, TooLarge, Unavailable
from app.doors.json_route import parse, read_body
from app.doors.schemas.messages import SendMessage
from app.doors.schemas.sessions import CreateSession


class Sender:
    """An ASGI client that sends its body in parts, and then leaves."""

    def __init__(self, *parts: bytes) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": place < len(parts)}
            for place, part in enumerate(parts, 1)
        ]
        self.asked = 0

    def drop_last(self) -> None:
        self._messages.pop()

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}


def scope(*headers: tuple[bytes, bytes], query: bytes = b"") -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/", "headers": list(headers), "query_string": query}


@pytest.mark.parametrize("parts", [(b"12345",), (b"12", b"", b"345"), (b"", b"12345")])
async def test_a_body_of_the_allowed_size_is_read_whole(parts: tuple[bytes, ...]) -> None:
    assert await read_body(scope(), Sender(*parts), 5) == b"12345"


async def test_an_announced_size_is_refused_unread() -> None:
    sender = Sender(b"123456")
    with pytest.raises(TooLarge):
        await read_body(scope((b"content-length", b"6")), sender, 5)
    assert sender.asked == 0


async def test_a_size_that_was_not_announced_is_refused_as_soon_as_it_is_known() -> None:
    sender = Sender(*[b"123"] * 1000)
    with pytest.raises(TooLarge) as caught:
        await read_body(scope((b"content-length", b"nonsense")), sender, 5)
    assert sender.asked <= 3
    assert caught.value.details == {"limit": 5}


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b"null"])
def test_nothing_means_no_options(body: bytes) -> None:
    assert parse(body, CreateSession) == CreateSession()


@pytest.mark.parametrize("body", [b"{", b"message=hi", b"''", b'{"message": "\xff"}', b"{'message': 'hi'}", b"NaN"])
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body, SendMessage)
    assert caught.value.reason == "invalid_json"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "message"),
        (b"null", "message"),
        (b'{"message": ""}', "message"),
        (b'{"message": null}', "message"),
        (b'{"message": 5}', "message"),
        (b'{"message": "hi", "background": "yes"}', "background"),
        (b'{"message": "hi", "on_busy": "panic"}', "on_busy"),
    ],
)
def test_a_wrong_field_is_named(body: bytes, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body, SendMessage)
    assert caught.value.reason == "invalid_request"
    assert caught.value.message.startswith(f"{field}: ")
    assert [problem["field"] for problem in caught.value.details["problems"]] == [field]  # type: ignore[attr-defined]


@pytest.mark.parametrize("body", [b"[]", b'"hi"', b"5", b"true", b'[{"message": "hi"}]'])
def test_a_body_is_an_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body, SendMessage)
    assert caught.value.reason == "invalid_request"


def test_fields_nobody_knows_are_left_alone() -> None:
    assert parse(b'{"message": "hi", "temperature": 7}', SendMessage).message == "hi"


@given(st.binary(max_size=60))
def test_whatever_bytes_come_they_are_taken_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        parse(body, SendMessage)


async def test_a_client_that_leaves_in_the_middle_of_its_body_has_asked_for_nothing() -> None:
    sender = Sender(b"{", b"}")
    sender.drop_last()
    with pytest.raises(Unavailable, match="left"):
        await read_body(scope(), sender, 5)
