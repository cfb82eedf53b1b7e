"""Run the statements of many units of work in as few calls as possible, keeping the order within each session."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Executable

from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict


def split_into_layers(units: list[UnitOfWork]) -> list[list[UnitOfWork]]:
    """Split a batch so that no layer holds two units of one session: within a layer, order does not matter."""
    found: list[list[UnitOfWork]] = []
    depth: dict[str, int] = {}
    for unit in units:
        level = depth.get(unit.session_id, 0)
        depth[unit.session_id] = level + 1
        if level == len(found):
            found.append([])
        found[level].append(unit)
    return found


def execute(connection: Connection, layer: list[UnitOfWork]) -> None:
    """Run the units' statements, equal shapes side by side as one `executemany` a statement."""
    shapes: dict[tuple[int, ...], list[UnitOfWork]] = {}
    for unit in layer:
        shapes.setdefault(tuple([id(statement) for statement, _, _ in unit.steps]), []).append(unit)
    for alike in shapes.values():
        for place, (statement, _, _) in enumerate(alike[0].steps):
            rows = [unit.steps[place][1] for unit in alike]
            expected = [unit.steps[place][2] for unit in alike]
            _execute_many(connection, statement, rows, expected)
        for unit in alike:
            for call in unit.calls:
                call(connection)


def _execute_many(
    connection: Connection, statement: Executable, rows: list[dict[str, Any]], expected: list[int | None]
) -> None:
    result = connection.execute(statement, rows if len(rows) > 1 else rows[0])
    wanted = [count for count in expected if count is not None]
    if wanted and (len(wanted) != len(rows) or result.rowcount != sum(wanted)):
        raise WriteConflict("a condition of the unit did not hold")
