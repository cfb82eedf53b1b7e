"""What is wrong with a text that is no YAML, in sentences that say what to write instead."""

from __future__ import annotations

import re

import yaml

# PyYAML's word, and ours. Its own sentences quote the word after `*` and `!`; a secret may begin so.
_SENTENCES = (
    (r"undefined alias", "an unquoted value begins with '*'; put it in quotes"),
    (r"anchor", "an unquoted value begins with '&'; put it in quotes"),
    (r"\btag\b|%TAG|directive", "an unquoted value begins with '!'; put it in quotes"),
    (r"found character '\\t'", "a tab; indent with spaces"),
    (r"found character '(?P<sign>.)' that cannot start", "an unquoted value begins with '{sign}'; put it in quotes"),
    (r"node content, but found '(?P<sign>[^<'])'", "an unquoted value begins with '{sign}'; put it in quotes"),
    (r"unexpected end of stream", "a quote that is not closed"),
    (r"unknown escape", "a backslash in double quotes; put the value in single quotes"),
    (r"expected ',' or '\}'", "a '}}' or ',' is missing, or the value before needs quotes"),
    (r"expected ',' or '\]'", "a ']' or ',' is missing, or the value before needs quotes"),
    (r"could not find expected ':'", "a line without ': ' between a key and its value"),
    (r"found another document", "a second document begins; a configuration is one"),
    (r"sequence entries are not", "a list begins beside its key; write each '- item' on a line of its own, or [a, b]"),
    (r"chomping or indentation", "text after '>' or '|' begins on the next line; put a value that begins so in quotes"),
    (r"found '<scalar>'", "text after a closing quote; a quote inside quotes is written twice"),
    (r"found '<block mapping start>'", "a line that is indented unlike those above it"),
    (r"found '\?'", "a key where '- item' is expected; check the indentation"),
    (r"found '-'|<block sequence start>", "a '- item' that is indented unlike those above it"),
)
_OPENS_EARLIER = ("unexpected end of stream", "could not find expected ':'")


def explain_syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    """Line (from 1) and sentence. Never quotes a value."""
    problem = error.problem or ""
    mark = error.problem_mark or error.context_mark
    if any(words in problem for words in _OPENS_EARLIER):
        mark = error.context_mark or mark
    if mark is None:
        return 1, "not valid YAML"
    if "mapping values are not allowed" in problem:
        sentence = _explain_colon(text.splitlines(), mark.line, mark.column)
    else:
        sentence = _sentence(problem)
    return mark.line + 1, f"not valid YAML: {sentence} (column {mark.column + 1})"


def _sentence(problem: str) -> str:
    for pattern, ours in _SENTENCES:
        found = re.search(pattern, problem)
        if found is not None:
            return ours.format(**found.groupdict())
    return "it cannot be read here; check indentation and quotes"


def _explain_colon(lines: list[str], number: int, column: int) -> str:
    """A `: ` where none can be: in a value, or on a line that continues the one above."""
    before = lines[number][:column] if number < len(lines) else ""
    if re.search(r":\s", before):
        return "a value with ': ' in it; put the value in quotes"
    above = next((line for line in reversed(lines[:number]) if line.strip()), "")
    if above and not re.search(r":(\s|$)", above):
        return "the line above has no ': ' between a key and its value"
    return "a key that is indented further than the line above, which has a value already"
