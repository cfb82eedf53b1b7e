"""What a command may not touch, at every level of the sandbox that works here."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.tools.base import ToolContext, ToolFailed, ToolResult
from app.tools.command import PATH, ExecuteCommand
from app.tools.confine import has_socket_filter
from app.tools.sandbox import Level, Sandbox, detect, works

LEVELS = [level for level in Level if works(level)]
CONFINING = [level for level in LEVELS if level is not Level.NONE]
SECRET = "key: secret"

at_every_level = pytest.mark.parametrize("level", LEVELS)
where_confined = pytest.mark.parametrize("level", CONFINING)
needs_socket_filter = pytest.mark.skipif(not has_socket_filter(), reason="no seccomp for this architecture")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace beside the files of a server; a link in it leads to them."""
    (tmp_path / "config.yaml").write_text(SECRET)
    (tmp_path / "hector.db").write_text(SECRET)
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "out").symlink_to("..")
    return root


async def outcome(tool: ExecuteCommand, command: str) -> str:
    """What the model is told, which is no good news."""
    context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")
    try:
        result = await tool.run({"command": command}, context)
    except ToolFailed as refused:
        return str(refused)
    assert isinstance(result, ToolResult)
    return result.text if result.is_error else f"It worked: {result.text}"


ESCAPES = [
    "cat ../config.yaml",
    "cat {beside}/config.yaml",
    "cat out/config.yaml",
    "ls ..",
    "cp hello.txt ../config.yaml",
    "cp hello.txt {beside}/hector.db",
    "cp hello.txt out/config.yaml",
    "touch ../new",
    "touch {beside}/new",
    "ln ../config.yaml inside",
    "mv ../config.yaml .",
    "rm ../config.yaml",
    "dd if=/dev/zero of={beside}/hector.db count=1",
    "tar --directory={beside} -cf x.tar config.yaml",
    "cat /proc/self/environ",
    "cat /proc/{server}/environ",
    "cat /etc/shadow",
    "cat /etc/passwd",
]
SEEN_IN_A_NAMESPACE = ["ls ..", "cat /proc/self/environ"]
"""There is a folder above the workspace there, with nothing else in it, and a process sees itself."""


@at_every_level
@pytest.mark.parametrize("escape", ESCAPES)
async def test_files_outside_are_neither_read_nor_written(
    root: Path, level: Level, escape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK_OF_THE_SERVER", "1")
    (root / "hello.txt").write_text("hello")
    command = escape.format(beside=root.parent, server=os.getpid())

    told = await outcome(ExecuteCommand(root, sandbox=level.value), command)

    assert not told.startswith("It worked: ") or (level is Level.BWRAP and escape in SEEN_IN_A_NAMESPACE)
    assert SECRET not in told
    assert "config.yaml\n" not in told
    assert "MARK_OF_THE_SERVER" not in told
    assert "root:" not in told
    assert (root.parent / "config.yaml").read_text() == SECRET
    assert (root.parent / "hector.db").read_text() == SECRET
    assert sorted(os.listdir(root.parent)) == ["config.yaml", "hector.db", "workspace"]


PROGRAMS = {
    "open('{beside}/config.yaml').read()": "reads",
    "open('{beside}/config.yaml', 'w')": "writes",
    "open('{beside}/hector.db', 'r+b').truncate(0)": "truncates",
    "os.rename('{beside}/config.yaml', 'mine')": "takes",
    "os.unlink('{beside}/hector.db')": "deletes",
    "os.link('{beside}/config.yaml', 'mine')": "links",
    "os.mkdir('{beside}/new')": "creates",
    "os.symlink('x', '{beside}/new')": "creates a link",
    "'config.yaml' in os.listdir('{beside}') or open('{beside}/config.yaml')": "lists",
    "open('/proc/{server}/environ').read()": "reads the environment of the server",
    "os.kill({server}, 0)": "signals the server",
    "os.mknod('device', 0o20600, os.makedev(1, 5))": "makes a device",
    "os.setuid(12345) or os.chroot('.')": "changes its root",
}


@where_confined
@pytest.mark.parametrize("program", PROGRAMS, ids=list(PROGRAMS.values()))
async def test_a_program_cannot_do_it_either(root: Path, level: Level, program: str) -> None:
    code = program.format(beside=os.path.realpath(root.parent), server=os.getpid())
    (root / "program.py").write_text(f"import os\n{code}\n")

    told = await outcome(ExecuteCommand(root, sandbox=level.value), "python program.py")

    assert "Error" in told, told
    assert (root.parent / "config.yaml").read_text() == SECRET
    assert (root.parent / "hector.db").read_text() == SECRET
    assert sorted(os.listdir(root.parent)) == ["config.yaml", "hector.db", "workspace"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something of this machine that waits for connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def unix_listener(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket in the file system, as that of a container engine."""
    path = root.parent / "s"
    monkeypatch.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        server.listen()
        yield path
    path.unlink()


CONNECTIONS = {
    "TCP": "socket.create_connection(('127.0.0.1', {port}), 2)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port})); os.stat('sent')",
    "UDP to elsewhere": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "IPv6": "socket.socket(socket.AF_INET6).connect(('::1', {port}))",
    "a raw socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW).bind(('eth0', 0))",
    "a name": "socket.getaddrinfo('example.com', 80)",
    "a Unix socket": "socket.socket(socket.AF_UNIX).connect(os.path.relpath('{unix}'))",
}


@needs_socket_filter
@at_every_level
@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_no_network_is_reached(
    root: Path, level: Level, connection: str, listener: socket.socket, unix_listener: Path
) -> None:
    code = CONNECTIONS[connection].format(port=listener.getsockname()[1], unix=os.path.realpath(unix_listener))
    (root / "program.py").write_text(f"import os, socket\n{code}\n")

    told = await outcome(ExecuteCommand(root, sandbox=level.value), "python program.py")

    assert "rror" in told
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


@at_every_level
async def test_the_network_can_be_allowed(root: Path, level: Level, listener: socket.socket) -> None:
    (root / "program.py").write_text(
        f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]})); print('connected')"
    )
    tool = ExecuteCommand(root, sandbox=level.value, network=True)

    context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")
    result = await tool.run({"command": "python program.py"}, context)

    assert isinstance(result, ToolResult)
    assert result.text == "Output: connected"


USEFUL = {
    "files": "import os; os.makedirs('a/b'); open('a/b/c', 'w').write('x'); os.rename('a/b', 'd'); os.unlink('d/c')",
    "links": "import os; open('x', 'w').close(); os.symlink('x', 'y'); os.link('x', 'z')",
    "temporary files": "import tempfile; tempfile.NamedTemporaryFile().write(b'x')",
    "devices": "open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(8)",
    "processes": "import subprocess; subprocess.run(['ls'], check=True)",
    "threads": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    "pools": "import multiprocessing; multiprocessing.get_context('fork').Pool(2).map(abs, [1, 2])",
    "pairs of sockets": "import asyncio; asyncio.run(asyncio.sleep(0))",
    "home": "import pathlib; pathlib.Path('~/.cache').expanduser().mkdir(parents=True)",
    "certificates": "import ssl; ssl.create_default_context()",
    "many files": "import tempfile; [tempfile.TemporaryFile() for _ in range(500)]",
}


@at_every_level
@pytest.mark.parametrize("use", USEFUL)
async def test_what_programs_need_works(root: Path, level: Level, use: str) -> None:
    (root / "program.py").write_text(f"if __name__ == '__main__':\n    {USEFUL[use]}\n    print('done')\n")
    context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")

    result = await ExecuteCommand(root, sandbox=level.value).run({"command": "python program.py"}, context)

    if use == "pools" and level is Level.LANDLOCK:
        assert "Permission denied" in result.text, "it cannot give a command shared memory of its own"
        return
    assert result.text.endswith("done"), result.text
    assert result.sandbox == level.value


@at_every_level
async def test_ten_gigabytes_of_output_fill_nothing(root: Path, level: Level) -> None:
    tool = ExecuteCommand(root, sandbox=level.value, max_execution_time=2, max_output=10_000)
    context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")

    result = await tool.run({"command": "head -c 10G /dev/zero"}, context)

    assert isinstance(result, ToolResult)
    assert result.data["output_bytes"] > 10 << 20
    assert len(result.text) < 10_300
    assert result.data["ended"] in (None, "timeout")


@where_confined
async def test_further_paths_can_be_opened_and_the_servers_files_never(root: Path, level: Level) -> None:
    shared = root.parent / "shared"
    shared.mkdir()
    (shared / "data.txt").write_text("data")
    (shared / "secret.yaml").write_text(SECRET)
    written = root.parent / "written"
    written.mkdir()
    tool = ExecuteCommand(
        root, sandbox=level.value, readable=[shared], writable=[written], protected=[shared / "secret.yaml"]
    )
    context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")

    assert (await tool.run({"command": f"cat {shared}/data.txt"}, context)).text == "Output: data"
    assert (await tool.run({"command": f"touch {written}/new"}, context)).is_error is False
    assert (written / "new").exists()
    assert SECRET not in await outcome(tool, f"cat {shared}/secret.yaml")
    assert await outcome(tool, f"touch {shared}/new")


@where_confined
async def test_an_interpreter_in_a_place_of_its_own_can_be_used(root: Path, level: Level) -> None:
    tool = ExecuteCommand(root, sandbox=level.value, path=f"{Path(sys.executable).parent}:{PATH}", max_memory=1 << 30)
    context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local")

    result = await tool.run({"command": f"{Path(sys.executable).name} -c 'import json; print(1)'"}, context)

    assert result.text == "Output: 1"


async def test_commands_are_refused_where_the_sandbox_they_need_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tools.sandbox.works", lambda level: level is Level.NONE)
    detect.cache_clear()
    try:
        for wanted in ("required", "bwrap", "landlock"):
            told = await outcome(ExecuteCommand(root, sandbox=wanted), "touch x")
            assert told.startswith("Commands cannot be run: ")
        assert Sandbox().level() is Level.NONE
    finally:
        detect.cache_clear()
    assert not (root / "x").exists()


@at_every_level
async def test_the_level_is_told_at_the_start(level: Level) -> None:
    sentence = await asyncio.to_thread(lambda: Sandbox(level.value).sentence)

    named = {Level.BWRAP: "of bwrap", Level.LANDLOCK: "of Landlock (ABI ", Level.NONE: "without a sandbox"}[level]
    assert named in sentence
    assert "with network" in Sandbox(level.value, network=True).sentence


def test_the_strongest_level_is_taken() -> None:
    assert detect() is LEVELS[0]
    assert Sandbox("auto").level() is LEVELS[0]
    if platform.system() == "Linux" and works(Level.LANDLOCK):
        assert Sandbox("required").level() is not Level.NONE
