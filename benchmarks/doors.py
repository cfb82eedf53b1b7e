"""Doors: what a token costs through a door of another dialect, as a ratio to the same through server-sent events.

    python -m benchmarks.doors --bench DIR [--rounds 5] [--seconds 4] [--only agui]

All doors in turns on the same server, so that the machine's drift meets them alike. Every stream is verified: all
tokens, once, in order, and the closing mark of the dialect.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, median, show

BURST = "mock-n200-d0-ttft0"
PACED = "mock-n200-d10-ttft50"
OPEN = "compat: {a2a: {enabled: true}, agui: {enabled: true}, ai_sdk: {enabled: true}}\n"


@dataclass(frozen=True)
class Door:
    """Where a message is posted and how; `{i}` is the connection, `{r}` the request.

    `marks`: what tells the load generator where tokens and the end are.
    """

    path: str
    body: str
    marks: tuple[str, ...] = ()


SSE = "sse"
DOORS = {
    SSE: Door("/agents/{agent}/sessions/{agent}-{i}/messages/stream", '{"message": "go"}', ("--only", '"chunk"')),
    "a2a": Door(
        "/agents/{agent}/a2a",
        '{"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": {"messageId": "m{r}", '
        '"role": "ROLE_USER", "contextId": "{agent}-a2a-{i}", "parts": [{"text": "go"}]}}}',
        ("-A", "A2A-Version: 1.0", "--only", '"artifactUpdate"', "--term-contains", "TASK_STATE_COMPLETED"),
    ),
    "agui": Door(
        "/agents/{agent}/agui",
        '{"threadId": "{agent}-agui-{i}", "runId": "r{r}", "messages": [{"id": "m", "role": "user", "content": "go"}]}',
        ("--only", '"delta"', "--term-contains", "RUN_FINISHED"),
    ),
    "ui": Door(
        "/agents/{agent}/ui",
        '{"id": "{agent}-ui-{i}", "messages": '
        '[{"id": "m{r}", "role": "user", "parts": [{"type": "text", "text": "go"}]}]}',
        ("--only", '"delta"'),
    ),
    "openai-chat": Door(
        "/v1/chat/completions",
        '{"model": "{agent}", "stream": true, "metadata": {"session_id": "{agent}-chat-{i}"}, '
        '"messages": [{"role": "user", "content": "go"}]}',
        ("--only", '"delta"'),
    ),
    "openai-stateless": Door(
        "/v1/chat/completions",
        '{"model": "{agent}", "stream": true, "messages": [{"role": "user", "content": "go"}]}',
        ("--only", '"delta"'),
    ),
    "openai-responses": Door(
        "/v1/responses",
        '{"model": "{agent}", "stream": true, "conversation": "{agent}-{i}", "input": "go"}',
        ("--only", '"delta"'),
    ),
}


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="runs of each door, interleaved")
    made.add_argument("--seconds", type=float, default=4, help="length of one run")
    made.add_argument("--only", choices=sorted(set(DOORS) - {SSE}), help="one door beside server-sent events")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    doors = {name: door for name, door in DOORS.items() if options.only in (None, name) or name == SSE}
    figures: dict[str, Any] = {}
    with Rig(options.bench, database_url=options.database_url) as bench:
        hector = bench.serve({"burst": BURST, "paced": PACED}, more=OPEN)
        rows: list[list[object]] = [["door", "load", "tokens/CPU-s", "ratio to SSE", "from", "to"]]
        for agent, connections, ramp in (("burst", 64, 0), ("paced", 100, 50)):
            hector.make_sessions(agent, [f"{agent}-{n}" for n in range(connections)])
            found: dict[str, list[float]] = {name: [] for name in doors}
            for number in range(options.rounds + 1):
                for name, door in doors.items():
                    given = ["-u", door.path.replace("{agent}", agent), "-b", door.body.replace("{agent}", agent)]
                    given += ["-c", str(connections), "-V", "200", *door.marks, *(["-r", str(ramp)] if ramp else [])]
                    # Requests of a run are counted from 0, and a run of a front end has an id of its own.
                    given = [part.replace("{r}", f"{number}-{{r}}") for part in given]
                    seconds = options.seconds + (connections / ramp if ramp else 0)
                    run = bench.load(hector, *given, "-d", seconds, "--pid", hector.pid)
                    if number:  # the first warms up
                        found[name].append(run["tokens_per_cpu_s"])
            for name, costs in found.items():
                ratios = [cost / base for cost, base in zip(costs, found[SSE], strict=True)]
                rows.append([name, agent, median(costs), median(ratios), min(ratios), max(ratios)])
                figures[f"{name} {agent}"] = {"tokens_per_cpu_s": median(costs), "ratio": round(median(ratios), 3)}
        show(rows)
    rig.report("doors", figures, options.out)


if __name__ == "__main__":
    main()
