"""Whatever a command starts is gone when it ends, is stopped, takes too long, or its server dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from app.tools.base import ToolContext, ToolResult, ToolStopped
from app.tools.command import ExecuteCommand
from app.tools.sandbox import Level, works

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CODE = Path(__file__).parents[2]
LEVELS = [level for level in Level if works(level)]
GONE_SECONDS = 3.0

TREE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0:  # a child that ignores TERM, as its parent does
    time.sleep(600)
if os.fork() == 0:  # one in a session of its own
    os.setsid()
    time.sleep(600)
if os.fork() == 0:  # a daemon: its parent is gone, its files are closed
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 64)
    open("daemon", "w").close()
    time.sleep(600)
while not os.path.exists("daemon"):
    time.sleep(0.01)
print("ready")
if sys.argv[2] == "stays":
    time.sleep(600)
"""


def living(token: str) -> list[str]:
    """The command lines of processes that have the token in theirs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if token in line:
            found.append(f"{pid}: {line}")
    return found


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Talk:
    """A context that knows when something was shown."""

    def __init__(self) -> None:
        self.shown = ""
        self.is_ready = asyncio.Event()
        self.context = ToolContext("call_1", "ses_1", "trn_1", "coder", "anonymous", "local", on_progress=self._on)

    def _on(self, text: str, _percent: float | None) -> None:
        self.shown += text
        if "ready" in self.shown:
            self.is_ready.set()


@pytest.fixture
def token() -> str:
    return uuid4().hex


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "tree.py").write_text(TREE)
    return tmp_path


@pytest.mark.parametrize("level", LEVELS)
async def test_a_stop_ends_the_whole_tree(workspace: Path, token: str, level: Level) -> None:
    talk = Talk()
    tool = ExecuteCommand(workspace, sandbox=level.value, grace_seconds=0.2)
    call = asyncio.create_task(tool.run({"command": f"python tree.py {token} stays"}, talk.context))
    await talk.is_ready.wait()
    assert len(living(token)) >= 4

    talk.context.stop.set()
    with pytest.raises(ToolStopped):
        async with asyncio.timeout(GONE_SECONDS):
            await call

    assert living(token) == [], "the call ended before its processes"


@pytest.mark.parametrize("level", LEVELS)
async def test_what_a_command_leaves_running_is_ended_with_it(workspace: Path, token: str, level: Level) -> None:
    tool = ExecuteCommand(workspace, sandbox=level.value, grace_seconds=0.1)

    result = await tool.run({"command": f"python tree.py {token} ends"}, Talk().context)

    assert living(token) == []
    assert isinstance(result, ToolResult)
    assert (result.text, result.is_error) == ("Output: ready", False)


@pytest.mark.parametrize("level", LEVELS)
async def test_a_command_that_takes_too_long_is_ended_and_its_output_told(
    workspace: Path, token: str, level: Level
) -> None:
    tool = ExecuteCommand(workspace, sandbox=level.value, max_execution_time=1.0, grace_seconds=0.1)

    result = await tool.run({"command": f"python tree.py {token} stays"}, Talk().context)

    assert living(token) == []
    assert isinstance(result, ToolResult)
    assert result.is_error
    assert result.data["ended"] == "timeout"
    assert "ended after 1 s (max_execution_time)" in result.text


async def test_a_call_whose_task_is_cancelled_leaves_nothing(workspace: Path, token: str) -> None:
    talk = Talk()
    call = asyncio.create_task(
        ExecuteCommand(workspace, sandbox="none").run({"command": f"python tree.py {token} stays"}, talk.context)
    )
    await talk.is_ready.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert living(token) == []


async def test_a_process_may_end_in_its_own_way_when_it_is_asked_to(workspace: Path) -> None:
    (workspace / "polite.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open('saved', 'w').close(), sys.exit()))\n"
        "print('ready')\n"
        "time.sleep(600)\n"
    )
    for level in LEVELS:
        talk = Talk()
        tool = ExecuteCommand(workspace, sandbox=level.value, grace_seconds=30)
        call = asyncio.create_task(tool.run({"command": "python polite.py"}, talk.context))
        await talk.is_ready.wait()

        talk.context.stop.set()
        with pytest.raises(ToolStopped):
            await call

        (workspace / "saved").unlink()


SERVER = """
import asyncio, sys
from pathlib import Path
from app.tools.base import ToolContext
from app.tools.command import ExecuteCommand

def show(text, percent):
    print(text, flush=True)

async def main():
    tool = ExecuteCommand(Path(sys.argv[1]), sandbox=sys.argv[3])
    context = ToolContext("c", "s", "t", "a", "p", "u", on_progress=show)
    await tool.run({"command": f"python tree.py {sys.argv[2]} stays"}, context)

asyncio.run(main())
"""


@pytest.mark.parametrize("level", LEVELS)
def test_a_server_that_is_killed_takes_its_commands_with_it(
    workspace: Path, token: str, level: Level, tmp_path_factory: pytest.TempPathFactory
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-c", SERVER, str(workspace), token, level.value]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, cwd=CODE, env=environment, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"Output: ready\n"
        assert len(living(token)) >= 4

        server.send_signal(signal.SIGKILL)
        server.wait()

        wait_until(lambda: not living(token))
    wait_until(lambda: os.listdir(temporary) == [])


# It stops by itself at some hundreds: a test must not take the machine with it where no group bounds the tasks.
BOMB = """
import mmap, os, signal, sys, time
born = mmap.mmap(-1, 4)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() and sys.argv[2] == "daemon":
    os._exit(0)
os.setsid() if sys.argv[2] == "daemon" else None
while True:
    number = int.from_bytes(born[:4], "little") + 1
    born[:4] = number.to_bytes(4, "little")
    if number > 400:
        time.sleep(600)
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("kind", ["plain", "daemon"])
@pytest.mark.parametrize("level", LEVELS)
async def test_processes_that_multiply_are_killed(workspace: Path, token: str, level: Level, kind: str) -> None:
    (workspace / "bomb.py").write_text(BOMB)
    tool = ExecuteCommand(workspace, sandbox=level.value, max_processes=16)

    result = await tool.run({"command": f"python bomb.py {token} {kind}"}, Talk().context)

    assert living(token) == []
    assert isinstance(result, ToolResult)
    if kind == "plain" or level is not Level.BWRAP:  # which ends the others before they are many
        assert result.data["ended"] == "processes"
        assert "more than 16 processes (max_processes)" in result.text


@pytest.mark.parametrize("level", LEVELS)
async def test_a_tree_that_uses_too_much_memory_is_killed(workspace: Path, token: str, level: Level) -> None:
    (workspace / "hungry.py").write_text(
        "import os, sys, time\nif os.fork(): os.fork()\nblock = bytearray(b'x') * (60 << 20)\ntime.sleep(600)\n"
    )
    tool = ExecuteCommand(workspace, sandbox=level.value, max_memory=150 << 20)

    result = await tool.run({"command": f"python hungry.py {token}"}, Talk().context)

    assert living(token) == []
    assert isinstance(result, ToolResult)
    assert result.data["ended"] == "memory"
    assert "of memory (max_memory)" in result.text
