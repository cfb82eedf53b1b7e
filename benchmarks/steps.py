"""Steps: what a turn with tools costs, as a ratio to plain turns with as many calls of the model.

    python -m benchmarks.steps --bench DIR [--rounds 5] [--turns 200] [--database-url URL]

A scripted model calls a tool that does nothing in five steps, each of which is stored before and after, and then
answers. As many plain turns answer at once. CPU of the server by /proc, one turn after another.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import rig
from benchmarks.rig import ROOT, Rig, Server, free_port, median, show

STEPS = 5
CONFIG = """
server: {{port: {port}}}
storage: {{url: "{database}"}}
logging: {{level: warning}}
llms:
  plain: {{type: scripted, script: [{{text: "Done."}}]}}
  acting:
    type: scripted
    script:
{calls}
      - {{text: "Done."}}
agents:
  plain: {{llm: plain, memory: {{working: {{strategy: buffer_window}}}}}}
  acting: {{llm: acting, tools: [nothing], memory: {{working: {{strategy: buffer_window}}}}}}
tools:
  nothing: {{python: "nothing:nothing", class: read}}
"""
TOOL = '''
async def nothing(n: int) -> str:
    """Do nothing."""
    return "nothing"
'''


def main(argv: list[str] | None = None) -> None:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--turns", type=int, default=200, help="turns with tools in one run")
    options = made.parse_args(argv)
    with Rig(options.bench, database_url=options.database_url) as bench:
        server = serve(bench, options.database_url or "sqlite:///hector.db")
        run(server, "acting", 20)
        run(server, "plain", 20 * STEPS)
        pairs = []
        for _ in range(options.rounds):
            acting = run(server, "acting", options.turns) / options.turns
            plain = run(server, "plain", options.turns * STEPS) / options.turns
            pairs.append((acting, plain))
        server.stop()
    ratios = [acting / plain for acting, plain in pairs]
    show(
        [
            ["", "acting, ms", f"{STEPS} plain, ms", "ratio"],
            *[["", acting * 1000, plain * 1000, acting / plain] for acting, plain in pairs],
        ]
    )
    figures: dict[str, Any] = {
        "acting_ms": median([acting for acting, _ in pairs]) * 1000,
        "plain_ms": median([plain for _, plain in pairs]) * 1000,
        "ratio": median(ratios),
    }
    rig.report("steps", figures, options.out)


def serve(bench: Rig, database: str) -> Server:
    """A server with one agent that acts and one that does not."""
    port = free_port()
    home: Path = bench.folder / "acting"
    home.mkdir()
    calls = "\n".join([f"      - {{calls: [{{name: nothing, arguments: {{n: {n}}}}}]}}" for n in range(STEPS)])
    (home / "config.yaml").write_text(CONFIG.format(port=port, database=database, calls=calls), encoding="utf-8")
    (home / "nothing.py").write_text(TOOL, encoding="utf-8")
    line = [sys.executable, "-m", "app", "serve", "--config", str(home / "config.yaml")]
    return bench.start_server(line, port, cwd=ROOT)


def run(server: Server, agent: str, turns: int) -> float:
    """Seconds of CPU that so many turns cost, each in a session of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    ids = [f"{agent}-{time.monotonic_ns()}-{number}" for number in range(turns)]
    for session_id in ids:
        post(connection, f"/agents/{agent}/sessions", {"session_id": session_id})
    begin = cpu_seconds(server.pid)
    for session_id in ids:
        post(connection, f"/agents/{agent}/sessions/{session_id}/messages", {"message": "go"})
    return cpu_seconds(server.pid) - begin


def post(connection: http.client.HTTPConnection, path: str, body: object) -> None:
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    said = response.read()
    assert response.status in (200, 201), said


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
