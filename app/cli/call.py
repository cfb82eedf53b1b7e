"""hector call: one message, one answer; made for pipes."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

from app.cli.answer import Answer
from app.cli.client import Client
from app.cli.connection import Target, connect
from app.cli.failures import CommandFailed, ExitCode, Unreachable
from app.cli.run import Signals, complain
from app.cli.screen import Silent, make_output
from app.cli.show import Abandoned, Show, stop_quietly


@dataclass(frozen=True, slots=True)
class Wish:
    agent: str
    message: str | None
    session_id: str | None
    stream: bool
    as_json: bool
    with_time: bool


async def call(target: Target, wish: Wish, signals: Signals) -> ExitCode:
    message = _message(wish.message)
    async with connect(target) as client:
        await client.agent(wish.agent)
        if wish.session_id is not None:
            await _enter(client, wish.agent, wish.session_id)
        answer = Answer(client, wish.agent, wish.session_id, message=message)
        output = Silent() if wish.as_json or not wish.stream else make_output()
        show = Show(client, wish.agent, answer, output, signals)
        try:
            await show.run()
        except Abandoned:
            return ExitCode.INTERRUPTED
        except BaseException:  # also a closed pipe: what nobody reads need not be written
            await stop_quietly(client, wish.agent, answer)
            raise
        if wish.with_time:
            print(_times(answer), file=sys.stderr)
        if wish.as_json:
            return await _print_json(client, wish, answer, message, was_stopped=show.was_stopped)
        if not wish.stream:
            _print_whole(answer.text)
        return _end(answer, was_stopped=show.was_stopped)


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


async def _enter(client: Client, agent: str, session_id: str) -> None:
    _, is_new = await client.create_session(agent, session_id)
    if is_new:
        complain(f"session {session_id} is new")


async def _print_json(client: Client, wish: Wish, answer: Answer, message: str, *, was_stopped: bool) -> ExitCode:
    """What a waiting POST would have said: the same key gets the stored result, whatever it is."""
    code = ExitCode.OK
    try:
        found = await client.send(wish.agent, wish.session_id, message, key=answer.key)
    except CommandFailed as failure:
        found = failure.body
        code = failure.code if isinstance(failure, Unreachable) else ExitCode.TURN_FAILED
    print(json.dumps(found, ensure_ascii=False), flush=True)
    return ExitCode.INTERRUPTED if was_stopped and code is not ExitCode.OK else code


def _print_whole(text: str) -> None:
    output = make_output()
    output.text(text)
    output.close()


def _end(answer: Answer, *, was_stopped: bool) -> ExitCode:
    failure = answer.failure()
    if failure is None:
        return ExitCode.OK
    complain(failure)
    return ExitCode.INTERRUPTED if was_stopped else ExitCode.TURN_FAILED


def _times(answer: Answer) -> str:
    """Milliseconds as seen from here, then as the server counted them; tokens."""
    finished = answer.finished or {}
    first = answer.first_clock - answer.began_clock if answer.first_clock is not None else None
    parts = [f"first {_ms(first)}", f"total {_ms(time.monotonic() - answer.began_clock)}"]
    timings = finished.get("timings") or {}
    known = [f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in timings.items() if value is not None]
    if known:
        parts.append(f"server: {', '.join(known)}")
    usage = finished.get("usage")
    if usage:
        parts.append(f"tokens: {usage['prompt_tokens']} + {usage['completion_tokens']}")
    return f"time: {'; '.join(parts)}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
