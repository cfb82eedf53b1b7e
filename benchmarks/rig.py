"""Rig: the model, the load generator, the reference and the server, each started where it disturbs the others least.

The instruments (a mock model and a load generator in C, a reference relay) come from the folder that
`--bench` names; they are built into a temporary folder when they are not there ready.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
SERVER_CORE, LOAD_CORE = 0, 1

CONFIG = """
server: {{port: {port}, grpc_port: {grpc_port}}}
storage: {{url: "{database}"}}
logging: {{level: warning}}
llms:
{llms}
agents:
{agents}
"""


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--bench", type=Path, required=True, help="folder of mockllm, streamload and ref_relay.py")
    made.add_argument("--database-url", help="an empty Postgres database instead of a file; what is made stays in it")
    made.add_argument("--out", type=Path, help="folder for the figures as JSON")
    return made


class Rig:
    """A context manager: a temporary folder with the mock model running; ends whatever it started."""

    def __init__(self, bench: Path, *, database_url: str | None = None) -> None:
        self._bench = bench.resolve()
        self._database_url = database_url or "sqlite:///hector.db"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.many_cores = len(os.sched_getaffinity(0)) > 1

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="hector-bench-"))
        self._tools = self._bench if (self._bench / "mockllm").exists() else self._build()
        self.mock_port = free_port()
        self._start([str(self._tools / "mockllm"), "-p", str(self.mock_port)], LOAD_CORE, stderr=subprocess.DEVNULL)
        self._await(self.mock_port, "/health")
        if self.many_cores:
            os.sched_setaffinity(0, {LOAD_CORE})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _build(self) -> Path:
        subprocess.run(["make", "-C", str(self._bench), f"OUT={self.folder}"], check=True, capture_output=True)
        return self.folder

    def _start(self, command: Sequence[str], core: int, **more: Any) -> subprocess.Popen[bytes]:
        if self.many_cores:
            command = ["taskset", "-c", str(core), *command]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **more)
        self._processes.append(process)
        return process

    def _await(self, port: int, path: str) -> None:
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            try:
                if request(port, "GET", path)[0] < 500:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"nothing answers on port {port}")

    def serve(
        self,
        models: dict[str, str],
        *,
        command: Sequence[str] = ("app",),
        folder: str = "server",
        grpc_port: int | None = None,
        more: str = "",
        providers: Mapping[str, int] | None = None,
    ) -> Server:
        """`hector serve` with one agent for each of `models` (agent → model of the mock), ready.

        `more`: further sections of its configuration. `providers`: ports of other models than the mock, by agent.
        """
        port = free_port()
        home = self.folder / folder
        home.mkdir(exist_ok=True)
        ports = dict.fromkeys(models, self.mock_port) | dict(providers or {})
        hosts = {name: f"http://127.0.0.1:{port}/v1" for name, port in ports.items()}
        llms = "".join(
            [
                f'  {name}: {{type: openai, host: "{hosts[name]}", api_key: none, model: {model}}}\n'
                for name, model in models.items()
            ]
        )
        # A summary would be a model call more, at a moment of its own.
        memory = "memory: {working: {strategy: buffer_window}}"
        agents = "".join([f"  {name}: {{llm: {name}, {memory}}}\n" for name in models])
        path = home / "config.yaml"
        path.write_text(
            CONFIG.format(
                port=port,
                grpc_port="null" if grpc_port is None else grpc_port,
                llms=llms,
                agents=agents,
                database=self._database_url,
            )
            + more,
            encoding="utf-8",
        )
        line = [sys.executable, "-m", *command, "serve", "--config", str(path)]
        return self.start_server(line, port, cwd=ROOT)

    def start_server(self, line: Sequence[str], port: int, **more: Any) -> Server:
        """The server that a command starts, on its core, ready."""
        process = self._start(line, SERVER_CORE, **more)
        self._await(port, "/ready")
        return Server(process, port)

    def relay(self) -> Server:
        """The reference: the least Python that relays a stream."""
        port = free_port()
        command = [
            *(sys.executable, "-m", "uvicorn", "ref_relay:app", "--app-dir", str(self._bench)),
            *("--port", str(port), "--no-access-log", "--log-level", "warning"),
        ]
        environment = os.environ | {"UP": f"http://127.0.0.1:{self.mock_port}/v1"}
        process = self._start(command, SERVER_CORE, env=environment)
        self._await(port, "/nothing")
        return Server(process, port)

    def load(self, server: Server, *arguments: object, may_fail: bool = False) -> dict[str, Any]:
        """One run of the load generator; its JSON line. Anything bad ends the benchmark."""
        done = self.load_beside(server, *arguments)
        out, _ = done.communicate()
        found = last_json(out)
        if found["bad"] and not may_fail:
            raise SystemExit(f"void: {found['bad']} bad of {found['started']}: {found['errors']}")
        return found

    def load_beside(self, server: Server, *arguments: object) -> subprocess.Popen[bytes]:
        """The load generator, running while the caller does something else."""
        command = [str(self._tools / "streamload"), "-p", str(server.port), "-j", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def stats(self) -> dict[str, Any]:
        """What the mock model has seen."""
        found: dict[str, Any] = json.loads(request(self.mock_port, "GET", "/stats")[1])
        return found

    def lines(self, name: str, lines: Iterable[str]) -> Path:
        """A file of paths or requests for the load generator."""
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


class Server:
    """A process under test and its port."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        # taskset replaces itself by the command, so the process id is the server's own.
        self.pid = process.pid

    def make_sessions(self, agent: str, names: Iterable[str]) -> None:
        """Sessions with ids of our own choice."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        for name in names:
            connection.request("POST", f"/agents/{agent}/sessions", json.dumps({"session_id": name}))
            response = connection.getresponse()
            response.read()
            assert response.status in (200, 201), response.status
        connection.close()

    def resident_mb(self) -> float:
        return resident_mb(self.pid)

    def stop(self) -> None:
        stop(self.process)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum([int(line.split()[1]) for line in file if line.startswith("Rss:")]) / 1024


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def request(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """(status, body) of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def last_json(output: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Iterable[float], per_cent: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * per_cent / 100), len(ordered) - 1)]


def show(rows: Sequence[Sequence[object]]) -> None:
    """A table; the first row is its head."""
    texts = [[f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for row in texts:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells))


def report(name: str, figures: dict[str, Any], out: Path | None) -> None:
    """The last line: all figures as JSON; also to `out`."""
    line = json.dumps(
        {
            "benchmark": name,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
            **figures,
        }
    )
    print(line)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").write_text(line + "\n", encoding="utf-8")
