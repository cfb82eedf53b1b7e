"""Who asks: the name of a key, or the anonymous caller of a server without authentication."""

from __future__ import annotations

import pytest

from app.auth.authenticate import Authenticator
from app.domain.errors import Unauthenticated
from app.domain.principal import Principal
from tests.fixtures.keys import plain_keys

KEYS = Authenticator(plain_keys(alice="s3cret", bob="other"))
OPEN = Authenticator({})


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret ", "Bearer s3cret\t"])
def test_a_valid_key_is_its_name(header: str) -> None:
    assert KEYS.authenticate(header) == Principal("alice", "key")


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
        KEYS.authenticate(header)


def test_without_keys_everybody_is_anonymous() -> None:
    assert OPEN.is_open
    assert not KEYS.is_open
    assert OPEN.authenticate(None) == Principal("anonymous", "anonymous")
    assert OPEN.authenticate("Bearer whatever") == Principal("anonymous", "anonymous")


def test_without_keys_whoever_names_nobody_may_be_one_user() -> None:
    principal = Authenticator({}, has_one_user=True).authenticate(None)
    assert (principal.id, principal.effective_user) == ("anonymous", "local")
    assert principal.may_see("anonymous", "ann")
    assert Authenticator(plain_keys(alice="k"), has_one_user=True).authenticate("Bearer k").effective_user == "alice"
