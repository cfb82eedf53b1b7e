"""The tools for files, as a model calls them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.base import Tool, ToolContext, ToolFailed, ToolResult, ToolStopped
from app.tools.diffs import diff
from app.tools.files import ListFiles, ReadFile, SearchReplace, WriteFile
from app.tools.globs import fits
from app.tools.workspace import Workspace


def a_context() -> ToolContext:
    return ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")


async def call(tool: Tool, **arguments: Any) -> ToolResult:
    outcome = await tool.run(arguments, a_context())
    assert isinstance(outcome, ToolResult)
    return outcome


async def refusal(tool: Tool, **arguments: Any) -> str:
    with pytest.raises(ToolFailed) as failed:
        await tool.run(arguments, a_context())
    return str(failed.value)


async def test_write_file_tells_what_it_did_and_what_changed(tmp_path: Path) -> None:
    tool = WriteFile(Workspace(tmp_path))

    created = await call(tool, path="src/hello.py", content="print('Hello')\n")
    updated = await call(tool, path="src/hello.py", content="print('Hi')\nexit()\n")

    assert created == ToolResult(
        "File created successfully.",
        {
            "path": "src/hello.py",
            "created": True,
            "bytes": 15,
            "diff": "@@ -0,0 +1 @@\n+print('Hello')",
            "diff_is_cut": False,
            "added": 1,
            "removed": 0,
        },
        "File created successfully.",
    )
    assert updated.shown == "File updated successfully."
    assert updated.data["diff"] == "@@ -1 +1,2 @@\n-print('Hello')\n+print('Hi')\n+exit()"
    assert (tmp_path / "src" / "hello.py").read_text() == "print('Hi')\nexit()\n"


async def test_half_a_character_is_refused(tmp_path: Path) -> None:
    assert "half a surrogate pair" in await refusal(WriteFile(Workspace(tmp_path)), path="x", content="\ud83d")
    assert not (tmp_path / "x").exists()


async def test_a_file_that_was_binary_is_replaced_without_a_diff(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\x00")

    assert (await call(WriteFile(Workspace(tmp_path)), path="x", content="text")).data["diff"] is None
    assert (tmp_path / ".hector-backup" / "x").read_bytes() == b"\xff\x00"


async def test_read_file_returns_lines_and_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one\ntwo\x0c\nthree")
    tool = ReadFile(Workspace(tmp_path))

    whole = await call(tool, path="x")
    assert whole.text == "one\ntwo\x0c\nthree"
    assert whole.data == {"path": "x", "offset": 1, "lines": 3, "total_lines": 3}
    assert whole.shown == "Read 3 lines of x."
    assert (await call(tool, path="x", limit=1)).text == "one\n\n(Lines 1 to 1 of 3; go on with offset 2.)"
    assert (await call(tool, path="x", offset=3)).text == "three\n(Lines 3 to 3 of 3.)"
    assert await refusal(tool, path="x", offset=4) == "`x` has 3 lines; there is no line 4."


async def test_read_file_returns_no_more_than_its_bound(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("äöü\n" * 3)
    (tmp_path / "long").write_text("ä" * 50)
    tool = ReadFile(Workspace(tmp_path, max_read=15))

    assert (await call(tool, path="x")).text == "äöü\näöü\n\n(Lines 1 to 2 of 3; go on with offset 3.)"
    assert (await call(tool, path="long")).text == "äääääää… (the line is longer)\n"


async def test_read_file_says_what_is_no_text(tmp_path: Path) -> None:
    for name, content in {"binary": b"a\0b", "latin": "Grüße".encode("latin-1"), "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
    tool = ReadFile(Workspace(tmp_path))

    assert "is not text in UTF-8" in await refusal(tool, path="binary")
    assert "is not text in UTF-8" in await refusal(tool, path="latin")
    assert (await call(tool, path="empty")).text == "(The file is empty.)"
    assert await refusal(tool, path="missing") == "`missing` does not exist. `list_files` shows what there is."


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/deep/c.md", "z/secret.py", ".hector-backup/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "src" / "link").symlink_to("/etc")
    return tmp_path


async def test_list_files_shows_a_folder_or_what_is_as_a_pattern(tree: Path) -> None:
    tool = ListFiles(Workspace(tree, denied_paths=["z"]))

    async def paths(**arguments: str) -> list[str]:
        found: list[str] = (await call(tool, **arguments)).data["paths"]
        return found

    assert await paths() == ["a.py", "src/"]
    assert await paths(path="src") == ["b.py", "deep/", "link@"]
    assert await paths(pattern="*.py") == ["a.py", "src/b.py", "src/deep/c.py"]
    assert await paths(pattern="src/*.py") == ["src/b.py"]
    assert await paths(pattern="src/**/*.??") == ["src/b.py", "src/deep/c.md", "src/deep/c.py"]
    assert await paths(path="src", pattern="**/c.*") == ["deep/c.md", "deep/c.py"]
    assert (await call(tool, pattern="*.rs")).text == "(Nothing is as `*.rs`.)"
    assert "leads out" in await refusal(tool, path="src/link")
    assert "leads out" in await refusal(tool, path="..")
    assert "does not exist" in await refusal(tool, path="nothing")
    assert "(denied_paths)" not in await refusal(tool, path="z")


async def test_list_files_is_bounded(tree: Path) -> None:
    result = await call(ListFiles(Workspace(tree), max_entries=2), pattern="**")

    assert result.data == {"path": ".", "paths": ["a.py", "src/"], "is_cut": True}
    assert result.text.endswith("(There are more: name a folder or a narrower pattern.)")


async def test_only_the_way_to_what_is_allowed_is_listed(tree: Path) -> None:
    tool = ListFiles(Workspace(tree, allowed_paths=["src/deep"], allowed_extensions=["py"]))

    assert (await call(tool, pattern="**")).data["paths"] == ["src/", "src/deep/", "src/deep/c.py"]


async def test_search_replace_replaces_what_occurs_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one\ntwo\none more\n")
    tool = SearchReplace(Workspace(tmp_path))

    told = await refusal(tool, path="x", search="one", replace="1")
    assert told.startswith("The text occurs 2 times in `x` (lines 1, 3); nothing was changed.")
    result = await call(tool, path="x", search="one more", replace="three")
    assert (result.text, result.data["replaced"]) == ("Replaced 1 occurrence in x.", 1)
    assert result.data["diff"] == "@@ -1,3 +1,3 @@\n one\n two\n-one more\n+three"
    assert (await call(tool, path="x", search="t", replace="T", all=True)).text == "Replaced 2 occurrences in x."
    assert (tmp_path / "x").read_text() == "one\nTwo\nThree\n"


async def test_search_replace_says_why_nothing_was_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("text")
    tool = SearchReplace(Workspace(tmp_path, max_file_size=1000))

    assert "does not occur in `x`" in await refusal(tool, path="x", search="other", replace="")
    assert "Nothing would change" in await refusal(tool, path="x", search="", replace="y")
    assert "Nothing would change" in await refusal(tool, path="x", search="t", replace="t")
    assert "does not exist" in await refusal(tool, path="y", search="t", replace="")
    assert "(max_file_size)" in await refusal(tool, path="x", search="t", replace="t" * 600, all=True)
    assert (tmp_path / "x").read_text() == "text"


async def test_search_replace_keeps_the_line_breaks_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one\r\ntwo\r\nthree\r\n")

    await call(SearchReplace(Workspace(tmp_path)), path="x", search="one\ntwo", replace="1\n2")

    assert (tmp_path / "x").read_bytes() == b"1\r\n2\r\nthree\r\n"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (WriteFile, {"path": "x", "content": ""}),
        (SearchReplace, {"path": "x", "search": "a", "replace": "b"}),
        (ReadFile, {"path": "x"}),
        (ListFiles, {}),
    ],
)
async def test_a_call_that_was_stopped_does_nothing(tmp_path: Path, tool: Any, arguments: dict[str, str]) -> None:
    context = a_context()
    context.stop.set()

    with pytest.raises(ToolStopped):
        await tool(Workspace(tmp_path)).run(arguments, context)

    assert os.listdir(tmp_path) == []


LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=30)


def patched(old: list[str], patch: str) -> list[str]:
    """The lines that a unified diff makes of others; fails where its context is not theirs."""
    new: list[str] = []
    at = 0
    for line in patch.split("\n") if patch else []:
        if line.startswith("@@"):
            start, _, length = line.split()[1][1:].partition(",")
            first = int(start) - (length != "0")
            new += old[at:first]
            at = first
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            at += 1
            new += [] if line.startswith("-") else [line[1:]]
    return new + old[at:]


@given(old=LINES, new=LINES)
def test_a_diff_makes_the_new_text_of_the_old_one(old: list[str], new: list[str]) -> None:
    before, after = ("".join(f"{line}\n" for line in lines) for lines in (old, new))

    found = diff(before, after)

    assert patched(old, found.text) == new
    assert len(new) - len(old) == found.added - found.removed


def test_a_diff_of_large_texts_is_cut() -> None:
    found = diff("\n".join(map(str, range(9000))), "\n".join(str(-n) for n in range(9000)))

    assert found.is_cut
    assert len(found.text) == 16_000


@pytest.mark.parametrize(
    ("path", "pattern", "is_fitting"),
    [
        ("a/b/c", "**", True),
        ("a/b/c", "**/c", True),
        ("a/b/c", "a/**/c", True),
        ("a/c", "a/**/c", True),
        ("a/b/c", "**/b", False),
        ("a/b/c", "*/c", False),
        ("a/b/c", "*/*/[a-c]", True),
        ("a/" * 60 + "b", "**/a/" * 60 + "c", False),
    ],
)
def test_patterns(path: str, pattern: str, is_fitting: bool) -> None:
    assert fits(path.split("/"), pattern.split("/")) is is_fitting
