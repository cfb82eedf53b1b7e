"""Who asks: a key's name, or anybody where no key is asked."""

from __future__ import annotations

import pytest

from app.auth.authenticate import MAX_USER_ID, Authenticator, with_user
from app.domain.errors import InvalidRequest, Unauthenticated
from app.domain.principal import Principal

KEYS = Authenticator({"alice": "s3cret", "bob": "other"})
OPEN = Authenticator({})


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret ", "Bearer s3cret\t"])
def test_a_valid_key_is_its_name(header: str) -> None:
    assert KEYS.authenticate(header, None) == Principal("alice", "key")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "s3cret",
        "Basic s3cret",
        "Token s3cret",
        "Bearer S3CRET",
        "Bearer s3cret x",
        "Bearer s3cre",
        "Bearer alice",
        "Bearer \xff",
    ],
)
def test_anything_else_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        KEYS.authenticate(header, "u7")


def test_without_keys_everybody_is_anonymous() -> None:
    assert OPEN.is_open
    assert not KEYS.is_open
    assert OPEN.authenticate(None, None) == Principal("anonymous", "anonymous")
    assert OPEN.authenticate("Bearer whatever", "u7").user_id == "u7"


def test_a_key_may_speak_for_an_end_user() -> None:
    principal = KEYS.authenticate("Bearer other", "u7")
    assert (principal.id, principal.effective_user) == ("bob", "u7")
    assert KEYS.authenticate("Bearer other", None).effective_user == "bob"


@pytest.mark.parametrize(("length", "accepted"), [(0, False), (1, True), (MAX_USER_ID, True), (MAX_USER_ID + 1, False)])
def test_a_user_id_has_a_length(length: int, accepted: bool) -> None:
    if accepted:
        assert with_user(Principal("bob", "key"), "u" * length).user_id == "u" * length
        return
    with pytest.raises(InvalidRequest):
        with_user(Principal("bob", "key"), "u" * length)
