"""hector cancel: stop what a session is answering, or withdraw what waits in it."""

from __future__ import annotations

import json

from app.cli.connection import Target, connect
from app.cli.failures import CommandFailed, ExitCode


async def cancel(
    target: Target, agent: str, session_id: str, *, turn_id: str | None, everything: bool, as_json: bool
) -> ExitCode:
    """Print what was cancelled. Nothing to cancel is no failure: the answer may just have ended."""
    if turn_id is not None and everything:
        raise CommandFailed("Give either --turn or --all.", code=ExitCode.USAGE, reason="invalid_request")
    async with connect(target, only_looks=True) as client:
        session = client.agent(agent).session(session_id)
        waiting = (await session.info())["queue"] if everything else []
        turn = await session.cancel(turn_id, everything=everything)
        if as_json:
            print(json.dumps(turn, ensure_ascii=False))
            return ExitCode.OK
        cancelled = [str(one["turn_id"]) for one in [*([turn] if turn is not None else []), *waiting]]
        print("\n".join([f"cancelled {one}" for one in cancelled]) or "nothing to cancel")
        return ExitCode.OK
