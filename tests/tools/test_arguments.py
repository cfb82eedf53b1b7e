"""What models write as arguments, mended where nothing is lost, else told so that they can mend it."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.arguments import MAX_DEPTH, BadArguments, describe, parse
from app.tools.schemas import Schema, compiled
from app.tools.validation import MAX_STEPS

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1},
        "ratio": {"type": "number"},
        "all": {"type": "boolean"},
        "after": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "kind": {"enum": ["file", "folder"]},
        "edits": {"type": "array", "items": {"$ref": "#/$defs/edit"}},
    },
    "required": ["path"],
    "additionalProperties": False,
    "$defs": {
        "edit": {
            "type": "object",
            "properties": {"line": {"type": "integer"}, "text": {"type": "string"}},
            "required": ["line"],
        }
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def mistakes(arguments: str, schema: dict[str, Any] = SCHEMA) -> str:
    with pytest.raises(BadArguments) as caught:
        parse(arguments, schema)
    return str(caught.value)


def test_fitting_arguments_are_taken_as_they_are() -> None:
    assert parse('{"path": "a", "limit": 5, "all": true}', SCHEMA) == {"path": "a", "limit": 5, "all": True}


@pytest.mark.parametrize("text", ["", "  \n", "{}", "null", '""', '"{}"'])
def test_nothing_written_means_no_arguments(text: str) -> None:
    assert parse(text, {"type": "object"}) == {}


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ({"limit": "5"}, {"limit": 5}),
        ({"limit": 5.0}, {"limit": 5}),
        ({"limit": "5.0"}, {"limit": 5}),
        ({"ratio": "0.25"}, {"ratio": 0.25}),
        ({"ratio": "-1e3"}, {"ratio": -1000.0}),
        ({"all": "true"}, {"all": True}),
        ({"all": "False"}, {"all": False}),
        ({"after": "7"}, {"after": 7}),
        ({"after": "null"}, {"after": None}),
        ({"limit": None}, {}),
        ({"path": 5}, {"path": "5"}),
        ({"edits": '[{"line": "3", "text": "a"}]'}, {"edits": [{"line": 3, "text": "a"}]}),
        ({"edits": ['{"line": "3"}']}, {"edits": [{"line": 3}]}),
    ],
)
def test_a_type_is_mended_where_that_loses_nothing(written: dict[str, Any], taken: dict[str, Any]) -> None:
    found = parse(json.dumps({"path": "a"} | written), SCHEMA)

    assert found == {"path": "a"} | taken
    assert repr(found) == repr({"path": "a"} | taken)  # 5 is not 5.0, True not 1


@pytest.mark.parametrize(
    "written",
    [
        {"limit": "5.5"},
        {"limit": 5.5},
        {"limit": "five"},
        {"limit": "0x10"},
        {"limit": True},
        {"ratio": "1e999"},
        {"ratio": "nan"},
        {"all": "yes"},
        {"all": 1},
        {"path": 1.10},
        {"path": True},
        {"path": ["a"]},
        {"path": None},
        {"edits": "[1, 2"},
        {"edits": '{"line": 3}'},
    ],
)
def test_a_value_that_could_mean_something_else_is_not_guessed(written: dict[str, Any]) -> None:
    assert next(iter(written)) in mistakes(json.dumps({"path": "a"} | written))


def test_a_long_number_keeps_all_its_digits() -> None:
    assert parse('{"path": 123456789012345678901234567890}', SCHEMA) == {"path": "123456789012345678901234567890"}


def test_a_line_break_within_a_string_is_taken() -> None:
    assert parse('{"path": "a\nb\tc"}', SCHEMA) == {"path": "a\nb\tc"}


def test_arguments_that_are_encoded_twice_are_decoded_twice() -> None:
    assert parse(json.dumps(json.dumps({"path": "a"})), SCHEMA) == {"path": "a"}


def test_half_a_character_becomes_the_mark_for_it() -> None:
    assert parse('{"path": "a\\ud83d b\\ud83d\\ude00"}', SCHEMA) == {"path": "a\ufffd b😀"}


def test_bad_json_is_told_with_its_place() -> None:
    assert "line 2, column 13" in mistakes('{"path": "a",\n "limit": 5,,}')
    assert "near" in mistakes('{"path": }')


@pytest.mark.parametrize("text", ["[1]", '"text"', "5", "true"])
def test_what_is_no_object_is_told(text: str) -> None:
    assert "must be a JSON object" in mistakes(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 200 + "1" + "}" * 200, '{"path": ' + "9" * 5_000 + "}"])
def test_what_is_nested_or_counted_beyond_reason_is_told(text: str) -> None:
    assert re.search("nested deeper|too many digits", mistakes(text))


def test_depth_counts_levels() -> None:
    fits = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse(fits, {"type": "object"})
    assert "nested" in mistakes('{"a":' + fits + "}", {"type": "object"})


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_no_json_are_told(constant: str) -> None:
    assert constant in mistakes('{"ratio": ' + constant + "}")


def test_all_mistakes_are_told_with_their_paths_and_what_is_allowed() -> None:
    told = mistakes('{"pth": "a", "limit": 0, "kind": "link", "edits": [{"text": 1.5}], "after": "soon"}')

    assert "the call lacks `path`" in told
    assert "cannot have `pth` (did you mean `path`?); it takes `path`, `limit`, `ratio`" in told
    assert "limit must be at least 1, not 0" in told
    assert 'kind must be one of "file", "folder", not "link"' in told
    assert "edits[0] lacks `line`" in told
    assert "edits[0].text must be a string, not 1.5" in told
    assert 'after fits none of the alternatives: must be an integer, not "soon" or must be null' in told


def test_what_is_told_has_a_limit() -> None:
    written = {"path": "a", "edits": ["x" * 10_000] * 1_000} | {"k" * 5_000 + str(n): n for n in range(100)}

    assert len(mistakes(json.dumps(written))) < 4_000


def test_what_is_told_is_safe_for_a_terminal() -> None:
    assert "\x1b" not in mistakes(json.dumps({"path": "a", "kind": "\x1b]52;c;x\x07", "\x1b[2J": 1}))
    assert "\x1b" not in mistakes('{"path": \x1b[2J}')


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "else"]), JSON))
def test_whatever_is_written_fits_afterwards_or_is_refused(written: dict[str, Any]) -> None:
    try:
        found = parse(json.dumps(written), SCHEMA)
    except BadArguments as exc:
        told = str(exc)
    else:
        told = "; ".join(map(str, compiled(SCHEMA).find_errors(found))) or "fits"
    assert told == "fits" or (told.startswith("The arguments") and len(told) < 10_000)


@given(st.dictionaries(st.text(), JSON))
def test_without_a_demand_nothing_is_changed(written: dict[str, Any]) -> None:
    whole = json.loads(json.dumps(written).encode())
    assert parse(json.dumps(written), {"type": "object"}) == whole


@given(st.text())
def test_any_text_is_taken_or_refused_with_a_sentence(text: str) -> None:
    try:
        found: object = parse(text, SCHEMA)
    except BadArguments as exc:
        found = str(exc)
    assert isinstance(found, dict) or (isinstance(found, str) and found.startswith("The arguments"))


# ---- schemas of strangers ------------------------------------------------------------------------------------------

BOMB: dict[str, Any] = {
    "$ref": "#/$defs/n0",
    "$defs": {f"n{n}": {"allOf": [{"$ref": f"#/$defs/n{n + 1}"}, {"$ref": f"#/$defs/n{n + 1}"}]} for n in range(40)},
}
BOMB["$defs"]["n40"] = {"type": "object"}
BROKEN: dict[str, dict[str, Any]] = {
    "no such type": {"type": "wat"},
    "properties are a list": {"type": "object", "properties": []},
    "refers to itself": {"$ref": "#"},
    "refers to the network": {"properties": {"path": {"$ref": "https://127.0.0.1:1/schema.json"}}},
    "refers to a file": {"properties": {"path": {"$ref": "file:///etc/passwd"}}},
    "refers to nothing": {"properties": {"path": {"$ref": "#/$defs/none"}}},
    "doubles forty times": BOMB,
    "enumerates the same": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "properties": {"path": {"enum": [{} for _ in range(10_000)]}},
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_schema_accepts_everything_and_is_logged_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    schema = Schema(BROKEN[name])
    with caplog.at_level(logging.WARNING):
        assert [schema.find_errors({"path": "a"}) for _ in range(3)] == [[], [], []]
    assert schema.problem is not None
    assert len(caplog.records) <= 1
    assert parse('{"path": "a"}', BROKEN[name]) == {"path": "a"}


def test_a_schema_that_is_nested_without_end_accepts_everything() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(3_000):
        schema = {"properties": {"a": schema}}
    assert parse('{"path": "a"}', schema) == {"path": "a"}


@pytest.mark.parametrize(
    "dialect", ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"]
)
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a|a)*$": {"type": "string"}}, "additionalProperties": False},
        {"properties": {"a": {"$schema": "http://json-schema.org/draft-06/schema#", "pattern": "^(a+)+$"}}},
    ],
)
def test_patterns_take_linear_time(schema: dict[str, Any], dialect: str) -> None:
    # A backtracking engine takes 2^40 steps for each: the time limit of the test would end it.
    text = "a" * 40 + "!"
    told = mistakes(json.dumps({"a": text, text: 1}), {"$schema": dialect, "required": ["b"]} | schema)
    assert "`b`" in told


def test_patterns_of_an_ordinary_kind_are_checked_and_others_are_not() -> None:
    schema = {"properties": {"day": {"pattern": r"^\d{4}-\d\d$"}, "word": {"pattern": "^(?=a)b"}}}
    assert parse('{"day": "2026-05", "word": "c"}', schema) == {"day": "2026-05", "word": "c"}
    assert r"day must match the pattern ^\d{4}-\d\d$" in mistakes('{"day": "May"}', schema)


def test_one_strange_value_does_not_end_the_checks_of_a_schema() -> None:
    schema = Schema({"properties": {"a": {"type": "array", "items": {"anyOf": [{"type": "string"}] * 5}}}})
    assert schema.find_errors({"a": [1] * MAX_STEPS}) != []  # stops at the first errors
    assert schema.find_errors({"a": ["x"] * MAX_STEPS}) == []
    assert schema.problem is not None
    assert schema.find_errors({"a": 1}) != []


def test_entries_that_must_differ_are_compared() -> None:
    schema = {"properties": {"a": {"uniqueItems": True}}}
    assert parse('{"a": [{"x": 1, "y": 2}, {"x": 1}]}', schema)
    assert "a has the same entry twice" in mistakes('{"a": [{"x": 1, "y": 2}, {"y": 2, "x": 1}]}', schema)


# ---- a call on one line --------------------------------------------------------------------------------------------

WRITE: dict[str, Any] = {"properties": {"path": {}, "content": {}}}


def test_a_call_is_shown_with_its_values_in_the_order_of_the_schema() -> None:
    shown = describe("write_file", {"content": "print('Hello')", "path": "hello.py"}, WRITE)
    assert shown == """write_file("hello.py", "print('Hello')")"""


def test_other_values_are_shown_as_json() -> None:
    arguments = {"a": 5, "b": True, "c": None, "d": ["x", 1], "e": {"f": 1.5}}
    assert describe("t", arguments) == 't(5, true, null, ["x", 1], {"f": 1.5})'
    assert describe("t", {}) == "t()"


def test_a_long_call_is_cut_to_the_limit() -> None:
    shown = describe("write_file", {"path": "a", "content": "x" * 1_000_000}, WRITE)
    assert len(shown) == 200
    assert shown.startswith('write_file("a", "xxx')
    assert shown.endswith("x…)")


@given(st.dictionaries(st.text(), JSON) | st.text(), st.text(max_size=300))
def test_a_call_is_one_safe_line_within_the_limit(arguments: dict[str, Any] | str, name: str) -> None:
    shown = describe(name, arguments)
    assert len(shown) <= 200
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)


def test_unreadable_arguments_are_shown_as_they_were_written() -> None:
    assert describe("write_file", '{"path": \n') == 'write_file({"path": \\n)'
    assert describe("t", {"a": 1}, {"properties": "broken"}) == "t(1)"
