"""A workspace never opens a file outside of it, whatever a path is made of."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.base import ToolFailed
from app.tools.workspace import Workspace

SECRET = b"secret of somebody else"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(SECRET)
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "here.txt").write_bytes(b"here")
    (root / "folder").mkdir()
    return root


def refusal(operation: Callable[[], object]) -> str:
    with pytest.raises(ToolFailed) as failed:
        operation()
    return str(failed.value)


def lead_out_by_link(root: Path) -> str:
    (root / "link.txt").symlink_to("../outside/secret.txt")
    return "link.txt"


def lead_out_by_absolute_link(root: Path) -> str:
    (root / "link.txt").symlink_to(root.parent / "outside" / "secret.txt")
    return "link.txt"


def lead_out_by_linked_folder(root: Path) -> str:
    (root / "elsewhere").symlink_to("../outside")
    return "elsewhere/secret.txt"


def lead_out_by_two_links(root: Path) -> str:
    (root / "folder" / "up").symlink_to("..")
    (root / "link.txt").symlink_to("folder/up/../outside/secret.txt")
    return "link.txt"


def become_hard_linked(root: Path) -> str:
    os.link(root.parent / "outside" / "secret.txt", root / "hard.txt")
    return "hard.txt"


def become_pipe(root: Path) -> str:
    os.mkfifo(root / "pipe")
    return "pipe"


def become_socket(root: Path) -> str:
    here = Path.cwd()
    os.chdir(root)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket")
    finally:
        os.chdir(here)
    return "socket"


def become_device(root: Path) -> str:
    try:
        os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    return "device"


def become_loop(root: Path) -> str:
    (root / "loop").symlink_to("loop")
    return "loop"


ESCAPES: list[Callable[[Path], str]] = [
    lambda _: "../outside/secret.txt",
    lambda _: "folder/../../outside/secret.txt",
    lambda _: "new/../../outside/secret.txt",
    lambda root: str(root.parent / "outside" / "secret.txt"),
    lambda root: f"{root}/../outside/secret.txt",
    lambda _: "/proc/self/environ",
    lambda _: os.path.join("/proc/self/root", "etc/passwd"),  # the root of the file system, by a link
    lambda _: "/dev/zero",
    lambda _: "//etc/passwd",
    lambda _: "~/secret.txt",
    lambda _: "here.txt\0.py",
    lambda _: "here\ntxt",
    lambda _: "half\ud800",
    lambda _: "a/" * 200 + "x",
    lambda _: "",
    lambda _: ".",
    lambda _: "folder",
    lambda _: "here.txt/x",
    lambda _: "x" * 300,
    lead_out_by_link,
    lead_out_by_absolute_link,
    lead_out_by_linked_folder,
    lead_out_by_two_links,
    become_hard_linked,
    become_pipe,
    become_socket,
    become_device,
    become_loop,
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_what_leads_out_or_is_no_file_is_refused_for_reading_and_writing(
    root: Path, escape: Callable[[Path], str]
) -> None:
    path = escape(root)
    workspace = Workspace(root)
    before = {file: (file.lstat().st_ino, file.lstat().st_mode) for file in root.parent.rglob("*")}

    for operation in (workspace.read, lambda path: workspace.write(path, b"mine")):
        assert refusal(lambda operation=operation: operation(path)).endswith(".")  # type: ignore[misc]

    assert (root.parent / "outside" / "secret.txt").read_bytes() == SECRET
    assert {file: (file.lstat().st_ino, file.lstat().st_mode) for file in root.parent.rglob("*")} == before


def test_a_refusal_says_what_is_allowed(root: Path) -> None:
    assert refusal(lambda: Workspace(root).read("../x")) == (
        "`../x` leads out of the workspace, by `..`. Use a path inside the workspace, such as `notes/todo.txt`."
    )
    assert refusal(lambda: Workspace(root, allowed_paths=["src", "docs"]).read("other/x")) == (
        "`other/x` is outside of what may be opened. Allowed are: `src`, `docs`."
    )


def test_links_inside_are_followed_and_files_are_found_by_absolute_paths(root: Path) -> None:
    (root / "folder" / "real.txt").write_bytes(b"real")
    (root / "folder" / "link").symlink_to("../folder/real.txt")
    (root / "short").symlink_to("folder/link")
    workspace = Workspace(root)

    for path in ("short", "folder/../short", f"{root}/short", "./folder//link", "new/../short"):
        assert workspace.read(path).content == b"real"
        assert workspace.read(path).path == "folder/real.txt"
    assert workspace.write("short", b"new").path == "folder/real.txt"
    assert (root / "short").is_symlink()
    assert (root / "folder" / "real.txt").read_bytes() == b"new"


@contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    """Two entries exchange their names, again and again, on another thread."""
    done = threading.Event()
    libc = ctypes.CDLL(None, use_errno=True)
    here, exchange = -100, 2

    def swap() -> None:
        while not done.is_set():
            assert libc.renameat2(here, bytes(first), here, bytes(second), exchange) == 0, os.strerror(
                ctypes.get_errno()
            )

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


needs_exchange = pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is of Linux")


@needs_exchange
def test_a_link_that_is_swapped_in_while_a_file_is_opened_leads_nowhere(root: Path) -> None:
    (root / "folder" / "secret.txt").write_bytes(b"mine")
    (root / "link").symlink_to("../outside")
    workspace = Workspace(root)
    refusals = 0

    with swapping(root / "folder", root / "link"):
        for number in range(1500):
            try:
                assert workspace.read("folder/secret.txt").content.startswith(b"mine")
                workspace.write("folder/secret.txt", b"mine %d" % number)
            except ToolFailed:
                refusals += 1

    assert 0 < refusals < 1500, "the swap never met an opening, or always did"
    assert [file.name for file in (root.parent / "outside").iterdir()] == ["secret.txt"]
    assert (root.parent / "outside" / "secret.txt").read_bytes() == SECRET


@needs_exchange
def test_a_file_swapped_for_a_link_is_not_opened(root: Path) -> None:
    (root / "file").write_bytes(b"mine")
    (root / "other").symlink_to("../outside/secret.txt")
    workspace = Workspace(root)
    told: set[str] = set()

    with swapping(root / "file", root / "other"):
        for _ in range(1500):
            try:
                told.add(workspace.read("file").content.decode())
            except ToolFailed as refused:
                told.add(str(refused))

    assert "mine" in told
    assert [one for one in told - {"mine"} if "link" not in one] == []


PART = st.sampled_from(["..", ".", "", "a", "b", "in", "out", "abs", "loop", "up", "file", "new", "~", "a b", "ä"])


@pytest.fixture(scope="module")
def maze() -> Iterator[Path]:
    """A workspace full of links: `in` leads to a folder inside, `out` and `abs` outside, `up` one folder up."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(os.path.realpath(folder)) / "a" / "b"
        for place in (root, root / "a", root / "a" / "b"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "in").symlink_to("a" if place == root else "b" if place.name == "a" else ".")
            (place / "out").symlink_to(os.path.relpath(root.parent, place))
            (place / "abs").symlink_to(root.parent)
            (place / "loop").symlink_to("loop")
            (place / "up").symlink_to("..")
            (place / "file").write_bytes(b"inside")
        for place in (root.parent, root.parent.parent):
            (place / "file").write_bytes(SECRET)
        yield root


@given(parts=st.lists(PART, max_size=8), start=st.sampled_from(["", "/", "{root}/", "{root}"]))
def test_no_path_reads_or_writes_a_file_outside(maze: Path, parts: list[str], start: str) -> None:
    path = start.format(root=maze) + "/".join(parts)
    real = os.path.realpath(maze / path)
    is_inside = real.startswith(f"{maze}/")
    workspace = Workspace(maze)

    try:
        assert workspace.read(path).content == b"inside"
        assert is_inside
    except ToolFailed:
        may_leave = path.startswith("~") or {"..", "up", "out", "abs"} & set(parts)
        assert may_leave or not (is_inside and os.path.isfile(real))
    try:
        written = workspace.write(path, b"inside")
        assert (maze / written.path).read_bytes() == b"inside"
    except ToolFailed:
        pass
    for place in (maze.parent, maze.parent.parent):
        assert (place / "file").read_bytes() == SECRET
    assert set(os.listdir(maze.parent)) == {"b", "file"}
    assert set(os.listdir(maze.parent.parent)) == {"a", "file"}


def test_rules_are_about_where_a_file_really_is(root: Path, tmp_path: Path) -> None:
    for name in ("src/a.py", "src/private/a.py", "docs/a.md", "src/A.PEM"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "src" / "link.py").symlink_to("private/a.py")
    workspace = Workspace(
        root, allowed_paths=["src", tmp_path / "outside"], denied_paths=["src/PRIV*"], forbidden_extensions=["pem"]
    )

    assert workspace.read("src/a.py").content == b"src/a.py"
    assert workspace.read(str(tmp_path / "outside" / "secret.txt")).content == SECRET
    assert "(denied_paths)" in refusal(lambda: workspace.read("src/private/a.py"))
    assert "(denied_paths)" in refusal(lambda: workspace.read("src/link.py"))
    assert "(denied_paths)" in refusal(lambda: workspace.write("src/private/new/b.py", b""))
    assert not (root / "src" / "private" / "new").exists()
    assert "outside of what may be opened" in refusal(lambda: workspace.read("docs/a.md"))
    assert "an ending that is not allowed" in refusal(lambda: workspace.read("src/A.PEM"))


def test_only_allowed_extensions_are_opened(root: Path) -> None:
    workspace = Workspace(root, allowed_extensions=[".py", "md", "tar.gz"])

    for name in ("a.py", "A.MD", "x.tar.gz"):
        workspace.write(name, b"")
    for name in ("a.txt", "py", "x.gz", "a.py.exe"):
        assert "Allowed are .py, .md, .tar.gz." in refusal(lambda name=name: workspace.write(name, b""))  # type: ignore[misc]


def test_files_of_the_server_are_refused_by_path_and_by_what_they_are(root: Path) -> None:
    (root / "config.yaml").write_text("key: secret")
    (root / "hector.db-wal").write_text("")
    workspace = Workspace(root, protected=[root / "config.yaml", root / "hector.db"])

    for path in ("config.yaml", "hector.db", "hector.db-wal", "hector.db-journal"):
        assert "belongs to the server" in refusal(lambda path=path: workspace.write(path, b""))  # type: ignore[misc]
        assert "belongs to the server" in refusal(lambda path=path: workspace.read(path))  # type: ignore[misc]
    assert (root / "config.yaml").read_text() == "key: secret"


def test_an_allowed_folder_that_becomes_a_link_allows_nothing_else(root: Path) -> None:
    (root / "src").mkdir()
    workspace = Workspace(root, allowed_paths=["src"])
    (root / "src").rmdir()
    (root / "src").symlink_to("folder")
    (root / "folder" / "x").write_bytes(b"x")

    assert "outside of what may be opened" in refusal(lambda: workspace.read("src/x"))


def test_a_root_may_itself_be_a_link_and_is_created(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)

    assert Workspace(tmp_path / "alias").read(str(tmp_path / "alias" / "here.txt")).content == b"here"
    assert Workspace(tmp_path / "new" / "one").write("a/b/c.txt", b"c").before is None
    assert (tmp_path / "new" / "one" / "a" / "b" / "c.txt").read_bytes() == b"c"


def test_a_write_keeps_the_previous_version_once_and_the_mode(root: Path) -> None:
    workspace = Workspace(root)
    (root / "here.txt").chmod(0o4755)

    for content in (b"one", b"one", b"two"):
        change = workspace.write("here.txt", content)
        assert change.after == content

    assert (root / "here.txt").read_bytes() == b"two"
    assert stat.S_IMODE((root / "here.txt").stat().st_mode) == 0o755
    assert (root / ".hector-backup" / "here.txt").read_bytes() == b"one"
    assert sorted(os.listdir(root)) == [".hector-backup", "folder", "here.txt"]
    assert "belong to the server" in refusal(lambda: workspace.write(".hector-backup/x", b""))


def test_previous_versions_do_not_collide_where_a_file_becomes_a_folder(root: Path) -> None:
    workspace = Workspace(root)
    for content in (b"1", b"2"):
        workspace.write("a", content)
    (root / "a").unlink()
    for content in (b"3", b"4"):
        workspace.write("a/b", content)
        workspace.write("a/" + "ä" * 120, content)

    assert {(root / ".hector-backup" / name).read_bytes() for name in ("a", "a%2Fb")} == {b"1", b"3"}


def test_files_that_are_too_large_are_neither_read_nor_written(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 11)
    workspace = Workspace(root, max_file_size=10)

    assert "(max_file_size)" in refusal(lambda: workspace.read("large"))
    assert "(max_file_size)" in refusal(lambda: workspace.write("large", b""))
    assert "(max_file_size)" in refusal(lambda: workspace.write("new/file", b"x" * 11))
    assert not (root / "new").exists()
    assert workspace.write("new/file", b"x" * 10).after == b"x" * 10


def test_a_write_that_fails_leaves_the_old_file_and_no_other(root: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as a full disk: write(2) fails in the middle
    try:
        told = refusal(lambda: Workspace(root).write("here.txt", b"x" * 8192))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert "`here.txt` cannot be opened: file too large" in told
    assert (root / "here.txt").read_bytes() == b"here"
    assert [name for name in os.listdir(root) if name.endswith(".tmp")] == []


def test_edits_by_several_tools_at_once_are_all_kept(root: Path) -> None:
    (root / "count").write_bytes(b"0")

    def count() -> None:
        for _ in range(50):
            Workspace(root).edit("count", lambda before: b"%d" % (int(before) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (root / "count").read_bytes() == b"200"
