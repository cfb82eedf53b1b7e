"""Whatever takes a text of a user, a model or a document works in time linear in its length, whatever the text.

Compared is the CPU time of a text with that of one sixteen times as long: linear work takes sixteen times as long, work
that grows with the square 256 times. So no clock of the machine is in it.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial

import orjson
import pytest

from app.cli.tables import _flat
from app.documents.chunks import cut
from app.documents.plain import read_markdown, read_text
from app.documents.section import Section, clean
from app.domain.memory import Memory, Owner
from app.domain.phrase import Phrase
from app.doors.json_route import read_json
from app.llm import scripted, tokens
from app.llm.base import TextDelta, escape
from app.llm.loops import LoopWatch
from app.llm.parse import StreamParser
from app.llm.think import ThinkTag
from app.llm.whole import PageParser
from app.memory import block, cues, names
from app.memory.recall import Hit
from app.observability import neutral
from app.search.excerpt import excerpt, shorten
from app.search.stems import stem
from app.search.wordpiece import WordPiece
from app.search.words import fold, split_text, terms, words
from app.storage.document_text import INDEX
from app.tools import arguments, command_words, docstrings
from app.tools.http_body import decode
from app.tools.page_text import page_text
from app.tools.rules import Rules

TOO_MUCH = 4
"""Times what linear work takes: work of n log n and the noise of a busy machine stay below."""
SHORT = 500
LONG = 8_000
NOTHING = 20e-6
"""Seconds in which a processor can do nothing that grows fast; shorter times are noise."""
CHEAP_SECONDS = 0.001
"""What takes less for `LONG` characters is tried with a megabyte of some families, too."""
MEGABYTE = 1_000_000

UNITS = {
    "one word": "a",
    "vowels": "ay",
    "marks": "\u0300",
    "marks of two classes": "\u0316\u0300",
    "signs that become marks": "\uff9e\u0316",
    "vowel signs of two classes": "\u0f73\u0f71",
    "capital sigmas": "Σ'",
    "letters that grow": "İßﷺ",
    "no spaces": "你好",
    "pictures": "🤷🏽\u200d♂️",
    "digits": "9",
    "short words": "a b ",
    "words": "when did we meet Deb in May? ",
    "spaces": " ",
    "tabs": "\t ",
    "lines": "\n",
    "empty lines": " \n\t\n",
    "controls": "\x1b\x9b\u202e",
    "opening brackets": "[",
    "opened links": "[](",
    "images": "![a](b",
    "attributes": "{#",
    "number signs": "# ",
    "stars": "*a _b ",
    "emphasis": "**a*",
    "ticks": "`` ` ",
    "quotes": "> ",
    "items": "- 1. ",
    "bars": "|a",
    "rules": "-- - ",
    "angles": "<a ",
    "unclosed tags": "<",
    "scripts": "<script></script ",
    "unclosed scripts": "<script>",
    "links of pages": "<a href='",
    "comments": "<!--",
    "titles": "<title",
    "entities": "&amp",
    "backslashes": "\\",
    "questions": "? ",
    "apostrophes": "d'",
    "dates": "1 of 3 May ",
    "numbers": "1 ",
    "not any more": "not any mor ",
    "end of a block": "</recalled_memories>",
    "end of thinking": "</think",
    "events": 'data: {"choices": [',
}
BEGINNINGS = ("so what ", "# ", "<think>", "- ", "May ")
ENDINGS = ("x", "ing", " ?", ")")

NAMES = frozenset({"deborah", "ann", "aaron"})
WANTED = frozenset({"meet", "deb", "b", "a"})
_wordpiece = WordPiece()


def _block(text: str) -> object:
    memory = Memory("memory_1", Owner("a", "p", "u", "s"), "u", "note", "assistant", text, text, 0)
    hit = Hit(memory, 1.0, {}, before=None, after=None)
    return block.block([hit], shown=(), asker=memory.owner), block.facts(hit, memory.owner)


def _document(text: str) -> object:
    content = text.encode("utf-8", "replace")
    return [list(cut(read(content), size=1000, unit="line")) for read in (read_text, read_markdown)]


def _paragraph(text: str) -> object:
    return list(cut([Section("", [(1, text)])], size=1000, unit="page"))


def _thoughts(text: str) -> object:
    tag, found = ThinkTag(), []
    for start in range(0, len(text), 50):
        if not tag.is_through:
            found += tag.sort([TextDelta([escape(text[start : start + 50])])])
    return found, tag.finish()


def _loops(text: str) -> object:
    watch = LoopWatch()
    return [watch.sees([TextDelta([escape(text[start : start + 50])])]) for start in range(0, len(text), 50)]


def _stream(text: str) -> object:
    event = b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n"
    return StreamParser().feed(event), StreamParser().feed(text.encode()), StreamParser().feed(text.encode() + b"\n\n")


def _page(text: str) -> object:
    parser = PageParser()
    return [parser.feed(b"<html>" + text.encode()), parser.finish()]


def _json(text: str) -> object:
    return read_json(orjson.dumps({"message": text, "metadata": {"\0": text}}))


_SCHEMA = {"properties": {"n": {"type": "integer"}, "o": {"type": "object"}, "p": {"pattern": r"^(\w+\s?)*$"}}}
_RULES = Rules(deny=["t(a=*a*b*c)", "t(path=*/secret*)", "t(command=rm *)", "t(url=https://*.org/*a*b)"])


def _arguments(text: str) -> object:
    written = orjson.dumps({"n": text, "o": text, "p": text, text: text}).decode()
    return [_refusal(lambda: arguments.parse(written, _SCHEMA)), _refusal(lambda: arguments.read(text))]


def _refusal(parse: Callable[[], object]) -> object:
    try:
        return parse()
    except arguments.BadArguments as exc:
        return exc


def _rules(text: str) -> object:
    return _RULES.decide("t", {"a": text, "path": text, "command": text, "url": text})


TAKERS: dict[str, Callable[[str], object]] = {
    "fold": fold,
    "words": words,
    "stem": stem,
    "terms": terms,
    "pieces of a summary": partial(split_text, most_words=60),
    "phrase in a text": Phrase("blue parrot").is_in,
    "phrase": Phrase,
    "wordpiece places": partial(_wordpiece.places_that_say, silent=frozenset({"a"}), limit=256),
    "excerpt": partial(excerpt, wanted=WANTED),
    "shorten": partial(shorten, length=600),
    "signs of a memory": lambda text: [cues.shows(text, sign) for sign in cues.Sign],
    "names in a question": partial(names.find_names, names=NAMES),
    "speaker": lambda text: names.name_parts([text]),
    "question": lambda text: INDEX.match(["a"], cues.ask(text, NAMES).terms),
    "block of memories": _block,
    "document": _document,
    "paragraph of a document": _paragraph,
    "clean document": clean,
    "tokens": tokens.count,
    "scripted answer": lambda text: scripted._cut(text, "word"),
    "thinking": _thoughts,
    "loops": _loops,
    "stream of a model": _stream,
    "page of a model": _page,
    "body": _json,
    "clean text of the CLI": neutral.clean,
    "cell of a table": _flat,
    "arguments of a call": _arguments,
    "call on a line": lambda text: arguments.describe("write_file", text),
    "command": command_words.split,
    "page of the web": page_text,
    "charset of a page": lambda text: decode(text.encode("utf-8", "replace"), text),
    "docstring": lambda text: (docstrings.summary(text), docstrings.parameters(text)),
    "rules": _rules,
}


def texts(length: int, families: Sequence[str] | None = None) -> dict[str, str]:
    """Texts of about so many characters; each unit alone, and with a beginning and an end in which patterns hope."""
    found = {}
    frames = list(itertools.product(BEGINNINGS, ENDINGS))
    for number, (name, unit) in enumerate(UNITS.items()):
        repeated = unit * (length // len(unit))
        beginning, ending = frames[number % len(frames)]
        found[name] = repeated
        found[f"{name}, framed"] = beginning + repeated + ending
    half = length // 2
    found["two runs of marks"] = "a" + "\u0300" * half + "\u0316" * half
    found["one word with an ending"] = "a" * length + "ing"
    found["different words"] = " ".join([f"w{number}" for number in range(length // 7)])
    return found if families is None else {name: found[name] for name in families}


def seconds(take: Callable[[str], object], text: str) -> float:
    """CPU time of one call; exceptions of the kind that a text may cause are part of the work."""
    started = time.process_time()
    try:
        take(text)
    except ValueError:
        pass
    return time.process_time() - started


def grows_too_fast(take: Callable[[str], object], short: str, long: str) -> bool:
    """Whether the long text takes far more than its share of time; measured again before it is believed."""
    too_much = TOO_MUCH * len(long) / len(short)
    least = max(min([seconds(take, short) for _ in range(2)]), NOTHING)
    return all(seconds(take, long) > too_much * least for _ in range(3))


@pytest.mark.parametrize("name", TAKERS)
def test_work_on_a_text_is_linear_in_its_length(name: str) -> None:
    take = TAKERS[name]
    take("warm up")
    short, long = texts(SHORT), texts(LONG)
    gc.disable()  # a collection of what other tests left is no work of ours
    try:
        slow = [family for family in long if grows_too_fast(take, short[family], long[family])]
        cheap = [family for family in long if family not in slow and seconds(take, long[family]) < CHEAP_SECONDS]
        longest = texts(MEGABYTE, cheap[:: max(1, len(cheap) // 8)])
        slow += [family for family in longest if grows_too_fast(take, long[family], longest[family])]
    finally:
        gc.enable()

    assert slow == []
