"""YAML becomes values that remember their lines."""

from __future__ import annotations

import pytest

from app.config.document import DocumentError, read_document


def refused(text: str) -> tuple[tuple[int, str], ...]:
    with pytest.raises(DocumentError) as caught:
        read_document(text)
    return caught.value.found


@pytest.mark.parametrize("text", ["", "\n", "# nothing but words\n", "---\n"])
def test_a_file_without_keys_is_an_empty_document(text: str) -> None:
    assert read_document(text).values == {}


def test_every_key_and_item_remembers_its_line() -> None:
    document = read_document("agents:\n  x:\n    tools:\n      - a\n      - b\n")

    assert document.lines == {
        ("agents",): 1,
        ("agents", "x"): 2,
        ("agents", "x", "tools"): 3,
        ("agents", "x", "tools", 0): 4,
        ("agents", "x", "tools", 1): 5,
    }


def test_values_have_the_types_of_yaml() -> None:
    document = read_document("a: 1\nb: 1.5\nc: true\nd: null\ne: '1'\nf: [x, 2]\n")

    assert document.values == {"a": 1, "b": 1.5, "c": True, "d": None, "e": "1", "f": ["x", 2]}


@pytest.mark.parametrize("text", ["10:30", "2024-01-31"])
def test_clock_times_and_dates_stay_text(text: str) -> None:
    assert read_document(f"a: {text}").values == {"a": text}


def test_a_key_that_looks_like_a_switch_stays_its_word() -> None:
    assert read_document("on: 1\n2: x\n").values == {"on": 1, "2": "x"}


def test_a_merged_anchor_gives_its_keys_and_yields_to_the_own_ones() -> None:
    document = read_document("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n")

    assert document.values == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


def test_every_repeated_key_is_told_with_both_lines() -> None:
    assert refused("a: {x: 1, x: 2}\nb: 1\nc: 1\nb: 2\n") == (
        (1, "'x' stands twice; first on line 1"),
        (4, "'b' stands twice; first on line 2"),
    )


def test_broken_syntax_names_line_and_column() -> None:
    [(line, sentence)] = refused("a: 1\nb: c: d\n")

    assert line == 2
    assert sentence.startswith("not valid YAML: ")
    assert "column" in sentence


@pytest.mark.parametrize("text", ["- a\n", "hello\n", "1\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert refused(text) == ((1, "the file must be a mapping (key: value)"),)


@pytest.mark.parametrize("sign", "*!&%@`")
def test_an_unquoted_secret_that_begins_with_a_sign_is_refused_without_showing_it(sign: str) -> None:
    # `&word` is valid YAML, an anchor without a value; `&a &b` is not.
    found = refused(f"api_key: {sign}hidden{' &hidden' if sign == '&' else ''}\n")

    assert "hidden" not in str(found)


@pytest.mark.parametrize("text", ["a: &a {b: *a}\n", "a: &a [*a]\n"])
def test_an_alias_inside_its_own_anchor_is_refused(text: str) -> None:
    assert refused(text) == ((1, "an alias stands inside its own anchor"),)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int x\n",
        "a: !!int ''\n",
        "a: !!bool x\n",
        "a: !!binary eA==\n",
        "? [a]\n: 1\n",
        "a: 1\n---\nb: 2\n",
        "<<: 3\n",
        "a: \x01\n",
    ],
)
def test_what_no_setting_needs_is_refused_in_a_sentence(text: str) -> None:
    assert refused(text)


def test_bottomless_nesting_is_refused() -> None:
    assert refused("[" * 50_000) == ((1, "is nested too deeply"),)


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("a: say: it\n", 1, "a value with ': ' in it; put the value in quotes"),
        ("a: 1\n  b: 2\n", 2, "indented further than the line above, which has a value already"),
        ("a\nb: 1\n", 2, "the line above has no ': '"),
        ("a:\n    b: 1\n  c: 2\n", 3, "a line that is indented unlike those above it"),
        ("a: 1\nb: 'x\nc: 2\n", 2, "a quote that is not closed"),
        ('a: "x\nc: 2\n', 1, "a quote that is not closed"),
        ("a: @x\n", 1, "an unquoted value begins with '@'; put it in quotes"),
        ("a: `x`\n", 1, "an unquoted value begins with '`'; put it in quotes"),
        ("a: %x\n", 1, "an unquoted value begins with '%'; put it in quotes"),
        ("a: }\n", 1, "an unquoted value begins with '}'; put it in quotes"),
        ("a:\n\tb: 1\n", 2, "a tab; indent with spaces"),
        ("a: 'it's'\n", 1, "text after a closing quote"),
        ("a: 1\nb\n", 2, "a line without ': ' between a key and its value"),
        ('a: "\\d"\n', 1, "a backslash in double quotes"),
        ("a: {b: 1\nc: 2\n", 2, "a '}' or ',' is missing"),
        ("a: [1, 2\nc: 2\n", 2, "a ']' or ',' is missing"),
        ("a: - b\n", 1, "a list begins beside its key"),
        ("a:\n  - x\n  y: 1\n", 3, "a key where '- item' is expected"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins"),
        ("a: >x\n y\n", 1, "text after '>' or '|' begins on the next line"),
    ],
)
def test_broken_syntax_is_told_in_our_words(text: str, line: int, sentence: str) -> None:
    [(found, said)] = refused(text)

    assert found == line
    assert sentence in said


@pytest.mark.parametrize("merges", [False, True])
def test_aliases_of_aliases_are_refused_before_they_expand(merges: bool) -> None:
    """A few lines that stand for billions of values took 4 GB and 40 seconds."""
    lines = ["a0: &a0 {x: lol, y: lol}" if merges else "a0: &a0 [lol, lol]"]
    for number in range(1, 30):
        aliases = ", ".join([f"*a{number - 1}"] * 9)
        lines.append(f"a{number}: &a{number} " + ("{<<: [" + aliases + "]}" if merges else f"[{aliases}]"))

    with pytest.raises(DocumentError) as caught:
        read_document("\n".join(lines))

    assert caught.value.found == ((1, "its aliases stand for more than 100000 keys and values"),)


def test_aliases_that_people_write_are_read() -> None:
    text = "base: &base {type: openai, model: x}\n" + "\n".join([f"m{number}: *base" for number in range(1_000)])

    assert len(read_document(text).values) == 1_001
