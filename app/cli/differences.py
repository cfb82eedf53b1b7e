"""hector check --diff: what a reload of the running server would change."""

from __future__ import annotations

from typing import Any

from app.cli.connection import Target, connect
from app.cli.failures import ExitCode
from app.cli.run import print_json


async def show_differences(target: Target, *, as_json: bool) -> ExitCode:
    """2: the configuration is wrong; 3: no server runs on its data."""
    async with connect(target, needs_server=True) as client:
        found = await client.reload_changes()
    if as_json:
        print_json(found)
        return ExitCode.OK
    for line in _lines(found) or ["a reload would change nothing"]:
        print(line)
    return ExitCode.OK


def _lines(found: dict[str, Any]) -> list[str]:
    agents, llms = found["agents"], found["llms"]
    lines = [f"agent {name}: added" for name in agents["added"]]
    lines += [f"agent {name}: removed" for name in agents["removed"]]
    for agent in agents["changed"]:
        versions = f"version {agent['before']} to {agent['after']}"
        same = f"version {agent['before']} stays"
        lines.append(f"agent {agent['agent']}: changed, {versions if agent['before'] != agent['after'] else same}")
    for what in ("added", "removed", "changed"):
        lines += [f"llm {name}: {what}" for name in llms[what]]
    if found["needs_restart"]:
        lines.append(f"needs a restart: {', '.join(found['needs_restart'])}")
    return lines
