"""Which files belong to a store."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from app.documents.folders import compile_patterns, open_beneath, scan
from app.documents.section import Unreadable


def names(
    roots: list[Path], *patterns: str, exclude: tuple[str, ...] = (), max_files: int = 100
) -> tuple[list[str], list[str]]:
    """(paths below the first root, problems)."""
    problems: list[str] = []
    found = scan(
        [str(root) for root in roots],
        patterns or ("**/*.md",),
        exclude=exclude,
        max_files=max_files,
        problems=problems,
    )
    return [os.path.relpath(file.path, os.path.realpath(roots[0])) for file in found], problems


def make(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("**/*.md", ["a.md", "x/a.md", "x/y/A.MD"], ["a.mdx", "amd"]),
        ("*.md", ["a.md"], ["x/a.md"]),
        ("docs/**", ["docs/a", "docs/x/y"], ["docs", "a/docs/x"]),
        ("**/notes/*.t?t", ["notes/a.txt", "x/notes/b.tst"], ["notes/x/a.txt", "notes/a.tt"]),
        ("**/[a-c]*.md", ["b.md", "x/cx.md"], ["d.md"]),
        ("**/[!a]*.md", ["b.md"], ["a.md"]),
        ("./a+b(1).md", ["a+b(1).md"], ["aab1.md"]),
        ("[", ["["], ["a"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str], other: list[str]) -> None:
    compiled = compile_patterns([pattern])

    assert [name for name in fitting if not compiled.fullmatch(name)] == []
    assert [name for name in other if compiled.fullmatch(name)] == []


def test_files_come_in_the_order_of_roots_and_names_each_once(folder: Path) -> None:
    make(folder, "b/x.md", "a.md", "b/a.md", "c.txt", "z.md")

    assert names([folder, folder / "b"]) == (["a.md", "z.md", "b/a.md", "b/x.md"], [])


def test_a_file_that_is_named_belongs_whatever_the_patterns(folder: Path) -> None:
    make(folder, ".hidden.csv")

    assert names([folder / ".hidden.csv"])[0] == ["."]


def test_hidden_names_are_left_out_unless_a_pattern_has_one(folder: Path) -> None:
    make(folder, ".git/a.md", ".b.md", "c.md")

    assert names([folder])[0] == ["c.md"]
    assert names([folder], ".git/*.md")[0] == [".git/a.md"]


def test_links_are_not_followed_but_a_path_may_be_one(folder: Path, tmp_path: Path) -> None:
    make(tmp_path, "outside/secret.md", "papers/a.md")
    (folder / "link.md").symlink_to(tmp_path / "outside" / "secret.md")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder)
    (tmp_path / "door").symlink_to(folder)

    assert names([folder])[0] == ["a.md"]
    assert names([tmp_path / "door"])[0] == ["a.md"]


def test_a_path_that_is_not_there_is_a_problem_and_the_others_are_read(folder: Path) -> None:
    make(folder, "a.md")

    found, problems = names([folder, folder / "nowhere"])

    assert found == ["a.md"]
    assert problems == [f"{folder}/nowhere: no such file or directory"]


def test_more_files_than_allowed_are_left_out_and_reported(folder: Path) -> None:
    make(folder, "a.md", "b.md", "c.md")

    found, [problem] = names([folder], max_files=2)

    assert found == ["a.md", "b.md"]
    assert "more than 2 files" in problem


def test_a_name_that_is_not_utf_8_is_reported(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff.md", "w"):
        pass

    found, [problem] = names([folder])

    assert found == []
    assert "not UTF-8" in problem


def test_pipes_and_sockets_are_no_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")

    assert names([folder]) == ([], [])


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ((), ["a.md", "drafts/b.md", "x/drafts/c.md", "x/d.md"]),
        (("drafts",), ["a.md", "x/d.md"]),
        (("drafts/",), ["a.md", "x/d.md"]),
        (("**/drafts/**",), ["a.md", "x/d.md"]),
        (("drafts/**",), ["a.md", "x/d.md"]),
        (("x/drafts",), ["a.md", "drafts/b.md", "x/d.md"]),
        (("X/*.MD", "a.*"), ["drafts/b.md", "x/drafts/c.md"]),
    ],
)
def test_what_is_excluded_is_left_out_with_all_that_is_in_it(
    tmp_path: Path, exclude: tuple[str, ...], left: list[str]
) -> None:
    make(tmp_path, "a.md", "drafts/b.md", "x/drafts/c.md", "x/d.md")

    found, problems = names([tmp_path], exclude=exclude)

    assert (sorted(found), problems) == (sorted(left), [])


def content_beneath(root: Path, path: Path) -> str:
    with open(open_beneath(str(root), str(path)), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("name", ["a.md", "x/a.md", "x/y/z/a.md"])
def test_a_file_is_opened_beneath_its_root(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)

    assert content_beneath(tmp_path, tmp_path / name) == name
    assert content_beneath(tmp_path / name, tmp_path / name) == name  # a path of the configuration may be a file


@pytest.mark.parametrize("place", ["x", "x/y", "x/y/a.md"])
def test_a_link_anywhere_below_the_root_is_not_followed(tmp_path: Path, place: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    make(root, "x/y/a.md")
    make(outside, "y/a.md", "a.md")
    kept = root / place
    kept.rename(tmp_path / "kept")
    kept.symlink_to({"x": outside, "x/y": outside / "y", "x/y/a.md": outside / "a.md"}[place])

    with pytest.raises(Unreadable, match="link"):
        open_beneath(str(root), str(root / "x/y/a.md"))


def test_what_is_not_beneath_the_root_is_not_opened(tmp_path: Path) -> None:
    make(tmp_path, "root/a.md", "outside.md")

    with pytest.raises(Unreadable, match="outside"):
        open_beneath(str(tmp_path / "root"), str(tmp_path / "root/../outside.md"))


def test_a_folder_that_is_swapped_for_a_link_again_and_again_never_leads_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    make(root, "x/a.md")
    make(outside, "a.md")
    (outside / "a.md").write_text("secret")
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            (root / "x").rename(root / "kept")
            (root / "x").symlink_to(outside)
            (root / "x").unlink()
            (root / "kept").rename(root / "x")

    swapper = threading.Thread(target=swap)
    swapper.start()
    found = set()
    try:
        for _ in range(2_000):
            try:
                found.add(content_beneath(root, root / "x/a.md"))
            except (Unreadable, FileNotFoundError) as error:
                found.add(type(error).__name__)
    finally:
        is_over.set()
        swapper.join()

    assert "secret" not in found
    assert found & {"Unreadable", "FileNotFoundError"}
