"""Tools whose effects are counted outside the server, and the points at which its process kills itself.

The server that is killed imports this module for its tools; its working folder has the target and the plan.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from app.domain.act import ActState
from app.storage import acts
from app.storage.engine import committer
from app.storage.engine.unit_of_work import UnitOfWork
from app.tools.base import ToolContext, ToolResult

Point = Literal[
    "before started",
    "after started",
    "in the body, before its effect",
    "in the body, after its effect",
    "after the body",
    "before the checkpoint",
    "after the checkpoint",
]
POINTS: tuple[Point, ...] = get_args(Point)
TARGET, PLAN = "target.txt", "plan.json"
FOLDER = "KILLS_FOLDER"
"""The variable that names the target's folder, where it is not the server's own."""


# -- the target ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """One effect of a call: the tool, the number in its arguments, the key of its act."""

    tool: str
    number: int
    key: str


def effects(folder: Path) -> list[Effect]:
    """Everything that has happened; the kernel keeps it whatever becomes of the process that wrote it."""
    file = folder / TARGET
    lines = file.read_text().splitlines() if file.exists() else []
    return [Effect(tool, int(number), key) for tool, number, key in map(str.split, lines)]


def _folder() -> Path:
    return Path(os.environ.get(FOLDER, ""))


def _happen(tool: str, number: int, key: str) -> str:
    _reach("in the body, before its effect")
    target = os.open(_folder() / TARGET, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(target, f"{tool} {number} {key}\n".encode())
    finally:
        os.close(target)
    time.sleep(number % 5 * 0.01)  # so that calls overlap with those of other turns
    _reach("in the body, after its effect")
    return f"{tool} {number} is done"


# -- the tools ----------------------------------------------------------------------------------


def pay(number: int, ctx: ToolContext) -> str:
    """Must not happen twice."""
    return _happen("pay", number, ctx.idempotency_key)


def look(number: int, ctx: ToolContext) -> str:
    """May happen again."""
    return _happen("look", number, ctx.idempotency_key)


def put(number: int, ctx: ToolContext) -> str:
    """May happen again with the same key."""
    return _happen("put", number, ctx.idempotency_key)


def ship(number: int, ctx: ToolContext) -> str:
    """Must not happen twice, and the target can be asked."""
    return _happen("ship", number, ctx.idempotency_key)


def _probe(key: str) -> ToolResult | None:
    found = [effect for effect in effects(_folder()) if effect.key == key]
    return ToolResult(f"{found[0].tool} {found[0].number} is done") if found else None


ship.probe = _probe  # type: ignore[attr-defined]

CLASSES = {"pay": "once", "look": "read", "put": "idempotent", "ship": "once"}


# -- the points ---------------------------------------------------------------------------------


@dataclass
class Plan:
    """The process ends when it comes to `point` for the `times`-th time."""

    point: Point
    times: int

    def write(self, folder: Path) -> None:
        (folder / PLAN).write_bytes(orjson.dumps({"point": self.point, "times": self.times}))


_plan: Plan | None = None
_reached: Counter[str] = Counter()


def _reach(point: Point) -> None:
    _reached[point] += 1
    if _plan is not None and _plan.point == point and _reached[point] == _plan.times:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the signal comes first


def _states(units: list[UnitOfWork]) -> set[str]:
    """The states of acts that the units store."""
    parameters = [values for unit in units for _, values, _ in unit.steps]
    return {str(values.get("new_state")) for values in parameters if "state_before" in values} | {
        str(values["state"]) for values in parameters if "call_id" in values and "state" in values
    }


def _has_checkpoint(units: list[UnitOfWork]) -> bool:
    return any(statement is acts._CHECKPOINT for unit in units for statement, _, _ in unit.steps)


def _install() -> None:
    """Watch what is committed: `before` is when all of it was executed and COMMIT was not sent."""
    commit = committer.Committer.commit

    def watched(self: committer.Committer, units: list[UnitOfWork]) -> committer.Outcome:
        points = _points(units)
        connection: Any = self._connected()
        commits = connection.commit

        def before() -> None:
            for point in points:
                if point != "after started" and point != "after the checkpoint":
                    _reach(point)
            commits()

        connection.commit = before
        try:
            outcome = commit(self, units)
        finally:
            del connection.commit
        for point in points:
            if point == "after started" or point == "after the checkpoint":
                _reach(point)
        return outcome

    committer.Committer.commit = watched  # type: ignore[method-assign]


def _points(units: list[UnitOfWork]) -> list[Point]:
    """What the commit of the units is about."""
    states = _states(units)
    points: list[Point] = []
    if ActState.STARTED.value in states:
        points += ["before started", "after started"]
    if ActState.SETTLED.value in states:
        points.append("after the body")
    if any(statement is acts._CHECKPOINT for unit in units for statement, _, _ in unit.steps):
        points += ["before the checkpoint", "after the checkpoint"]
    return points


if (found := Path(PLAN)).exists():
    _plan = Plan(**orjson.loads(found.read_bytes()))
    found.unlink()
    _install()
