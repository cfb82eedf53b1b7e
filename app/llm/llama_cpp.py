"""A GGUF model as a child process with the OpenAI API on a UNIX socket: its start, its death, its next life.

Knows nothing of requests; callers await `ensure()` before they use the socket. A child and not a thread: a
crash in native code must not take the server along, and the reading of a prompt can be stopped by `kill()`
alone, as llama.cpp notices a client that left only between generated tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections import deque
from pathlib import Path

_CHILD = Path(__file__).with_name("llama_child.py")
_LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 104 to 108
_STDERR_LINES = 20
_CLOSE_SECONDS = 2.0

CONTEXT = 8192
"""Tokens of context that a model is loaded with where the configuration does not say."""

# What the child needs of the environment. The server's keys are not for native code that reads a file.
_KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH"),
    *("VIRTUAL_ENV", "SYSTEMROOT", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
)

MISSING = "the embedded model needs pip install 'hector[local]' and hector weights"


class LlamaServerError(Exception):
    """The child cannot serve; the sentence carries the last words of its standard error."""


class LlamaServer:
    """One model in one child process, started on demand and again after it died.

    Belongs to one event loop. `generation` counts the starts: connections made in an older one are dead.

    Args:
        threads: by default all cores but one; as many as cores collapse on a busy machine (40 tokens/s
            became 4).
        context: tokens, shared by all slots.
        slots: answers generated at the same time; more requests wait inside the child.
        start_seconds: until the model must be loaded.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        threads: int | None = None,
        context: int = CONTEXT,
        slots: int = 4,
        start_seconds: float = 120.0,
    ) -> None:
        self.generation = 0
        self._model_path = model_path
        self._threads = threads or max(1, _cores() - 1)
        self._context = context
        self._slots = slots
        self._start_seconds = start_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._socket = ""
        self._changing = asyncio.Lock()
        self._ready = False
        self._closed = False

    @property
    def socket_path(self) -> str:
        """Path of the UNIX socket; empty before the first start, the same in every generation."""
        return self._socket

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None and self._ready

    async def start(self) -> None:
        """Same as `ensure`."""
        await self.ensure()

    async def ensure(self) -> None:
        """Return when the child serves, starting it if it does not. However many ask, one start happens.

        Raises:
            LlamaServerError: engine or model missing, the child died or took too long, or we are closed.
        """
        if self.is_running:
            return
        async with self._changing:
            if not self.is_running:
                await self._start()

    async def restart(self, *, generation: int | None = None) -> None:
        """Kill the child and start another one; every stream it serves breaks.

        With `generation` only if that one still lives: several callers that ask at once cause one restart.
        """
        async with self._changing:
            if generation is not None and generation != self.generation:
                return
            await self._end(grace_seconds=0)
            await self._start()

    async def kill(self) -> None:
        """End the child at once. The next `ensure` starts another one."""
        self._ready = False
        _kill(self._process)
        async with self._changing:
            if not self.is_running:
                await self._end(grace_seconds=0)

    async def close(self) -> None:
        """End the child, gently at first, remove its socket, and start none after it. May be called twice."""
        self._closed = True
        if not self._ready:
            _kill(self._process)  # do not wait for a model to load only to end it
        async with self._changing:
            await self._end(grace_seconds=_CLOSE_SECONDS)
            if self._socket:
                shutil.rmtree(os.path.dirname(self._socket), ignore_errors=True)

    async def _start(self) -> None:
        if self._closed:
            raise LlamaServerError("the embedded model is closed")
        if not importlib.util.find_spec("xllamacpp"):
            raise LlamaServerError(MISSING)
        if not self._model_path.is_file():
            raise LlamaServerError(f"no model file {str(self._model_path)!r}; {MISSING}")
        await self._end(grace_seconds=0)
        self._make_socket_path()
        self._stderr.clear()
        numbers = (str(n) for n in (self._threads, self._context, self._slots))
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                # -P: the script's own folder is no import path, its neighbours hide nothing.
                *(sys.executable, "-P", str(_CHILD), str(self._model_path), self._socket, *numbers),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                # Ctrl-C in a terminal goes to the whole group; the child must outlive turns still running.
                start_new_session=True,
            )
        except OSError as exc:
            raise LlamaServerError(f"the embedded model cannot be started: {exc}") from exc
        self._watcher = asyncio.create_task(self._watch(process), name="llama-server-watch")
        await self._wait_until_ready(process)

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        word = b""
        reason = "died while loading"
        try:
            async with asyncio.timeout(self._start_seconds):
                word = await process.stdout.readline()
        except TimeoutError:
            reason = f"was not ready within {self._start_seconds:g} s"
        finally:
            # Also when our caller was cancelled: no other code ends a half-started child.
            if word.strip() != b"ready":
                _kill(process)
        if word.strip() != b"ready" or self._closed:
            await self._end(grace_seconds=0)
            tail = "".join(f"\n{line}" for line in self._stderr)
            raise LlamaServerError(f"the embedded model {reason}{tail}")
        self.generation += 1
        self._ready = True

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Read what the child says, so that its pipe never fills, and see it die. Ends with the child."""
        assert process.stderr is not None
        rest = b""
        while block := await process.stderr.read(4096):
            *lines, rest = (rest + block).split(b"\n")
            rest = rest[-4096:]
            self._stderr.extend(line.decode(errors="replace")[:500] for line in lines if line.strip())
        if rest.strip():
            self._stderr.append(rest.decode(errors="replace")[:500])
        await process.wait()
        if process is self._process:
            self._ready = False

    async def _end(self, *, grace_seconds: float) -> None:
        """End the child, if there is one, and reap it: closed pipes, no zombie, no task."""
        self._ready = False
        process, watcher = self._process, self._watcher
        if process is None or watcher is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if grace_seconds:
            await asyncio.wait({watcher}, timeout=grace_seconds)
        _kill(process)
        await asyncio.wait({watcher})  # not `await watcher`: that would pass a cancellation of ours on to it
        self._process = self._watcher = None

    def _make_socket_path(self) -> None:
        if self._socket and os.path.isdir(os.path.dirname(self._socket)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket)
            return
        # mkdtemp gives a folder that is ours alone (0700): every process that reaches the socket may use the model.
        directory = tempfile.mkdtemp(prefix="hector-")
        if len(os.fsencode(directory)) > _LONGEST_SOCKET_PATH - len("/llm.sock"):
            os.rmdir(directory)
            directory = tempfile.mkdtemp(prefix="hector-", dir="/tmp")
        self._socket = os.path.join(directory, "llm.sock")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _kill(process: asyncio.subprocess.Process | None) -> None:
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
