"""User names: what may stand in a header, an address or a body, and that each name has one form."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.users import MAX_USER_ID, normalize, read_header, with_named_user, with_user
from app.domain.errors import InvalidRequest
from app.domain.principal import Principal

BOB = Principal("bob", "key")
NAMES = [
    "ann",
    "Jürgen",
    "Łukasz",
    "Анна",
    "李小龙",
    "علي",
    "नेहा",
    "Zoë 🎈",
    "a b",
    "O'Brien",
    "ﬁona",
    "Å",
    "50%",
    "UTF-8''x",
]


def test_a_key_may_speak_for_an_end_user() -> None:
    principal = with_user(BOB, "u7")
    assert (principal.id, principal.effective_user) == ("bob", "u7")
    assert BOB.effective_user == "bob"


@pytest.mark.parametrize(("length", "accepted"), [(0, False), (1, True), (MAX_USER_ID, True), (MAX_USER_ID + 1, False)])
@pytest.mark.parametrize("letter", ["u", "ü", "李", "🎈"])
def test_a_user_id_has_a_length(length: int, accepted: bool, letter: str) -> None:
    if accepted:
        assert normalize(letter * length) == letter * length
        return
    with pytest.raises(InvalidRequest):
        normalize(letter * length)


def test_the_length_is_that_of_the_normal_form() -> None:
    assert normalize("u\u0308" * MAX_USER_ID) == "ü" * MAX_USER_ID


@pytest.mark.parametrize("name", ["a" + "\u0300\u0316" * 500_000, "u" * 10_000_000], ids=["marks", "letters"])
def test_a_name_of_any_length_is_refused_at_once(name: str) -> None:
    with pytest.raises(InvalidRequest):
        normalize(name)


@pytest.mark.parametrize("name", ["\0", "ann\0"])
def test_no_name_has_a_character_that_a_database_refuses(name: str) -> None:
    with pytest.raises(InvalidRequest):
        normalize(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_same_however_it_is_written(name: str) -> None:
    normal = unicodedata.normalize("NFC", name)
    forms = [form for kind in ("NFC", "NFD") if (form := unicodedata.normalize(kind, name))]
    escaped = [f"UTF-8''{quote(form, safe='')}".encode() for form in forms]
    plain = [] if name.startswith("UTF-8''") else [form.encode() for form in forms]
    for value in (*escaped, *plain, *[one.replace(b"UTF-8''", b"utf-8'de'") for one in escaped]):
        assert with_named_user(BOB, [value], b"").user_id == normal
    for form in forms:
        assert with_user(BOB, form).user_id == normal
        assert with_named_user(BOB, [], b"after=0&user_id=" + quote(form).encode()).user_id == normal
        everywhere = with_named_user(BOB, escaped, b"user_id=" + quote(form).encode())
        assert with_user(everywhere, form).user_id == normal


@pytest.mark.parametrize(
    "query", ["user_id=Jürgen", "user_id=J%FCrgen", "user_id=J%C3%BCrgen", "user%5fid=Ju%CC%88rgen"]
)
def test_an_address_may_have_the_bytes_of_utf_8_or_of_iso_8859_1(query: str) -> None:
    assert with_named_user(BOB, [], query.encode()).user_id == "Jürgen"


def test_a_header_of_iso_8859_1_is_understood_as_browsers_mean_it() -> None:
    assert read_header("Jürgen".encode("latin-1")) == "Jürgen"


@pytest.mark.parametrize(
    "value",
    [b"\xe2\x82", b"\xf0\x9f\x8e", b"\x80", b"UTF-8''%E2%82", b"utf-8'de'%FC"],
)
def test_half_a_character_is_no_name(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_header(value)


@pytest.mark.parametrize("value", [b"O'Brien", b"a''b c'", b"'ann'", b"d'Artagnan's", b"UTF-16''a"])
def test_quotes_in_a_name_escape_nothing(value: bytes) -> None:
    assert read_header(value) == value.decode()


@given(st.binary(max_size=30))
def test_no_header_breaks_the_reading(value: bytes) -> None:
    try:
        assert isinstance(read_header(value), str)
    except InvalidRequest:
        pass


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([b"ann", b"ben"], b""),
        ([b"ann"], b"user_id=ben"),
        ([], b"user_id=ann&user_id=ben"),
        ([b"ann", b"UTF-8''ben"], b""),
        ([b"ann"], b"user%5Fid=ben"),
        ([b"ann"], b"user_id=Ann"),
    ],
)
def test_two_names_are_refused(headers: list[bytes], query: bytes) -> None:
    with pytest.raises(InvalidRequest, match="two users"):
        with_named_user(BOB, headers, query)


def test_the_same_name_twice_is_one() -> None:
    assert with_named_user(BOB, [b"ann", b"UTF-8''ann"], b"user_id=ann&user_id=ann").user_id == "ann"


def test_an_address_without_a_user_names_none() -> None:
    assert with_named_user(BOB, [], b"user_ids=ann&my_user_id=ann&q=user_id%3Dann") is BOB
