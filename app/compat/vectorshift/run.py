"""One run of an agent over HTTP: a one-shot whose answer is the agent's first output."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request

from app.conversation.conversation import Sending
from app.domain.errors import InvalidRequest, NotFound, overloaded
from app.domain.principal import Principal
from app.doors.dependencies import gone, principal_of
from app.doors.json_route import read_body, read_json
from app.runtime import Runtime

OUTPUT = "output"
"""The name of the answer where an agent declares no outputs."""


async def run_agent(runtime: Runtime, request: Request, agent: str) -> dict[str, Any]:
    """Wait for the answer. Raises what sending a message raises, and the error of a turn that did not complete."""
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise InvalidRequest("inputs: files are not taken here; send texts, or a file in a session.")
    given = read_json(await read_body(request.scope, request.receive, runtime.config.server.max_body))
    text, more, caller = _text_of(given.get("inputs")), given.get("additional_instructions"), principal_of(request)
    sending = Sending(text=text, instructions=more if isinstance(more, str) and more.strip() else None)
    following = await runtime.conversation.send(caller, agent, None, sending)
    with following:
        turn = await following.start()
        outcome = await following.outcome(turn, lambda: gone(request.receive))
    if outcome is None:
        waits = "The agent waits for an approval; use a session."
        return {"outputs": {}, "run_id": turn.turn_id, "status": "waiting", "error": waits}
    outcome.raise_for_end(following.session_id)
    return {"outputs": {_output_of(runtime, caller, agent): outcome.text}, "run_id": turn.turn_id, "status": "success"}


def _text_of(inputs: Any) -> str:
    """One input is the message; of several, each stands on a line with its name."""
    if not isinstance(inputs, dict) or not inputs:
        raise InvalidRequest("inputs: must be an object with at least one input.")
    texts = {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in inputs.items()}
    text = next(iter(texts.values())) if len(texts) == 1 else "\n".join([f"{name}: {texts[name]}" for name in texts])
    if not text.strip():
        raise InvalidRequest("inputs: all of them are blank.")
    return text


def _output_of(runtime: Runtime, caller: Principal, agent: str) -> str:
    """The id of the first output that the agent declares."""
    try:
        created = runtime.created_agents.get(caller, agent)
    except NotFound:  # of the configuration
        return OUTPUT
    return next(iter(orjson.loads(created.given).get("outputs") or {}), OUTPUT)
