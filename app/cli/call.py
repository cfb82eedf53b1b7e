"""hector call: one message, one answer; made for pipes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from app.cli.agents import choose_agent, choose_session, is_message
from app.cli.connection import Target, connect
from app.cli.decide import Decider, brief, open_acts
from app.cli.failures import CommandFailed, ExitCode, exit_code
from app.cli.prompt import Editor
from app.cli.run import Signals, complain, print_json
from app.cli.screen import Silent, make_output
from app.cli.show import Abandoned, Settle, Show, shortfall_of, stop_quietly
from hector_client import Agent, Answer, Client, HectorError, Unreachable
from hector_client.events import TurnFinished


@dataclass(frozen=True, slots=True)
class CallOptions:
    agent: str | None
    """Without a message it may be the message instead, for the only agent that the server has."""
    message: str | None
    session_id: str | None
    continues: bool
    """The last session, which `session_id` does not name then."""
    stream: bool
    as_json: bool
    with_time: bool


async def call(target: Target, options: CallOptions, signals: Signals) -> ExitCode:
    name, words = options.agent, options.message
    if name in (None, "-"):  # hector call -: the message is standard input
        name, words = None, "-"
    message = None if words is None else _message(words)
    async with connect(target) as client:
        if message is None and name is not None and await is_message(client, name):
            name, words = None, name
        agent = await choose_agent(client, name)
        message = _message(words) if message is None else message
        asked = client.agent(str(agent["agent"]))
        session_id = await choose_session(asked, options.session_id, continues=options.continues)
        answer = await _ask(asked, message, session_id)
        output = Silent() if options.as_json or not options.stream else make_output()
        show = Show(answer, output, signals, settle=_settling(client, agent, answer))
        try:
            await show.run()
        except Abandoned:
            return ExitCode.INTERRUPTED
        except BaseException:  # also a closed pipe: an answer without a reader need not be written
            await stop_quietly(answer)
            raise
        if show.was_left:
            complain(f"The turn waits: hector chat {agent['agent']} --session {answer.session_id} goes on with it.")
            return ExitCode.TURN_FAILED
        if options.with_time:
            print(_times(answer), file=sys.stderr)
        if options.as_json:
            return await _print_json(answer, was_stopped=show.was_stopped)
        if not options.stream:
            _print_whole("\n\n".join(answer.messages))
        return _end(answer, was_stopped=show.was_stopped)


def _settling(client: Client, agent: dict[str, Any], answer: Answer) -> Settle:
    """Asks the user what the turn waits for; where there is none to ask, tells how to answer, and waits."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()

    async def settle(turn_id: str, call_id: str | None) -> bool:
        session = client.agent(str(agent["agent"])).session(answer.session_id)
        if is_terminal:
            console = Console(highlight=False, stderr=True)
            return await Decider(session, Editor(history=None, commands=[]), console).settle(turn_id, call_id)
        for act in await open_acts(session, turn_id, call_id=call_id):
            what = "unknown" if act["state"] == "unknown" else act.get("waiting_for")
            complain(f"{brief(act)} waits ({what}): hector chat {session.agent_name} --session {session.session_id}")
        return True

    return settle


def _message(given: str | None) -> str:
    if given is not None and given != "-":
        message = given
    else:
        if sys.stdin.isatty():
            print("Write the message; Ctrl-D on an empty line sends it.", file=sys.stderr)
        try:
            message = sys.stdin.buffer.read().decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise CommandFailed(
                "The message on standard input is not UTF-8 text.", code=ExitCode.USAGE, reason="invalid_request"
            ) from None
    if not message.strip():
        raise CommandFailed("There is no message to send.", code=ExitCode.USAGE, reason="invalid_request")
    return message


async def _ask(agent: Agent, message: str, session_id: str | None) -> Answer:
    if session_id is None:
        return agent.ask(message)
    session = await agent.create_session(session_id)
    if session.is_new:
        complain(f"session {session_id} is new")
    return session.ask(message)


async def _print_json(answer: Answer, *, was_stopped: bool) -> ExitCode:
    """The API's answer to a caller that waits, or its error."""
    code = ExitCode.OK
    try:
        found = await answer.response()
    except HectorError as failure:
        found = failure.body
        code = exit_code(failure) if isinstance(failure, Unreachable) else ExitCode.TURN_FAILED
    print_json(found)
    return ExitCode.INTERRUPTED if was_stopped and code is not ExitCode.OK else code


def _print_whole(text: str) -> None:
    output = make_output()
    output.text(text)
    output.close()


def _end(answer: Answer, *, was_stopped: bool) -> ExitCode:
    failure = answer.failure()
    if failure is None:
        if (shortfall := shortfall_of(answer.finished)) is not None:
            complain(shortfall)
        return ExitCode.OK
    complain(failure.message)
    return ExitCode.INTERRUPTED if was_stopped else ExitCode.TURN_FAILED


def _times(answer: Answer) -> str:
    """Milliseconds as seen from here, then as the server counted them; tokens."""
    parts = [f"first {_ms(answer.first_text_seconds)}", f"total {_ms(answer.total_seconds)}"]
    finished = answer.finished or TurnFinished()
    known = [
        f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in finished.timings.items() if value is not None
    ]
    if known:
        parts.append(f"server: {', '.join(known)}")
    if finished.usage:
        parts.append(f"tokens: {finished.usage['prompt_tokens']} + {finished.usage['completion_tokens']}")
    return f"time: {'; '.join(parts)}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
