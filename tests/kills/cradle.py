"""A process that has loaded the program already and makes servers as copies of itself: each starts in no time.

A copy is a process as any other: it reads its configuration, opens its database, and is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fixtures.server import ROOT, HectorServer

_MODULES = (
    "app.cli.main",
    "app.cli.serve",
    "app.runtime",
    "app.storage.engine.migrate",
    "app.tools.build",
    "alembic.command",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
)


class Cradle:
    """The process that makes them. One server at a time; a context manager."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: further variables of the servers."""
        self._line, theirs = socket.socketpair()
        environment = {
            **(environment or {}),
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients/python'}",
            "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
        }
        command = [sys.executable, "-m", "tests.kills.cradle", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=folder, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()
        self._line.setblocking(False)

    def __enter__(self) -> Cradle:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()  # it ends when nobody is there
        self._process.wait()

    async def make(self, arguments: list[str]) -> Child:
        reading, writing = os.pipe()
        try:
            self._line.setblocking(True)
            socket.send_fds(self._line, [json.dumps(arguments).encode()], [writing])
            self._line.setblocking(False)
        finally:
            os.close(writing)
        stream = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb"))
        return Child(self._line, int(await loop.sock_recv(self._line, 32)), stream)


class Child:
    """A server that was made, as far as its owner looks at it as a process."""

    def __init__(self, line: socket.socket, pid: int, stderr: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._line = line

    async def wait(self) -> int:
        self.returncode = int(await asyncio.get_running_loop().sock_recv(self._line, 32))
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class CradledServer(HectorServer):
    """The same server, from a cradle."""

    def __init__(self, cradle: Cradle, folder: Path, settings: dict[str, Any], **options: Any) -> None:
        super().__init__(folder, settings, **options)
        self._cradle = cradle

    async def _spawn(self) -> None:
        arguments = ["serve", "--config", str(self.config_file), "--port", str(self.port)]
        child: Any = await self._cradle.make(arguments)
        self._process = child
        self._is_stopping = False
        self._reading = asyncio.create_task(self._read(child))


def main() -> None:
    """Make a copy for each list of arguments: its process id is said when it begins, its exit code when it is over."""
    for name in _MODULES:
        __import__(name)
    line = socket.socket(fileno=int(sys.argv[1]))
    while True:
        said, files, _, _ = socket.recv_fds(line, 65536, 1)
        if not said:
            return
        child = os.fork()
        if child == 0:
            line.close()
            os.dup2(files[0], 2)
            os.close(files[0])
            sys.argv = ["hector", *json.loads(said)]
            from app.cli.entry import main as serve

            serve()
            os._exit(0)
        os.close(files[0])
        line.send(str(child).encode())
        _, status = os.waitpid(child, 0)
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    main()
