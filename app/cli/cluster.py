"""hector cluster status: the servers of a running service."""

from __future__ import annotations

from typing import Any

from app.cli.connection import Target, connect
from app.cli.failures import ExitCode
from app.cli.run import print_json
from app.cli.tables import ago, print_rows

HEADINGS = ("server", "address", "status", "started", "lease", "sessions", "turns", "readers", "mirrors", "version")


async def status(target: Target, *, as_json: bool) -> ExitCode:
    async with connect(target, needs_server=True) as client:
        replicas = await client.replicas()
    if as_json:
        print_json({"replicas": replicas})
    else:
        print_rows(HEADINGS, [_row(replica) for replica in replicas])
    return ExitCode.OK


def _row(replica: dict[str, Any]) -> list[str]:
    words = [replica["status"], *(["first"] if replica["is_first"] else []), *(["here"] if replica["is_here"] else [])]
    lease = "alone" if replica["lease_seconds"] is None else f"{replica['lease_seconds']:.1f} s"
    figures = [replica[name] for name in ("sessions", "turns", "readers", "mirrors")]
    return [
        replica["id"],
        replica["address"],
        ", ".join(words),
        ago(replica["started_at"]),
        lease,
        *["?" if figure is None else str(figure) for figure in figures],
        replica["version"] or "?",
    ]
