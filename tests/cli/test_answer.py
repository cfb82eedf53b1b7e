"""An answer over several connections: what is asked next, and what is shown, after every way to break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from app.cli import answer as answers
from app.cli.answer import Answer
from app.cli.client import Client, Lost
from app.cli.failures import Refused, Unreachable
from app.cli.sse import Frame, Parser

MINE = {"turn_id": "t1", "session_id": "s"}
STARTED = Frame("turn_started", id="1", fields=MINE)
FINISHED = Frame("turn_finished", id="9", fields={**MINE, "status": "completed"})
LOST = Lost("the connection broke")


def text(chunk: str, seq: int) -> Frame:
    return Frame("text", chunk, str(seq), {"chunk": chunk})


def refusal(status: int, reason: str) -> Refused:
    return Refused(status, {"error": {"reason": reason, "message": reason}})


class Script(Client):
    """Each stream that is opened gives the next list of frames; an exception in it is raised there."""

    def __init__(self, *streams: list[Frame | Exception], turn: dict[str, Any] | None = None) -> None:
        super().__init__(httpx2.AsyncClient(), "the script")
        self.asked: list[str] = []
        self.keys: set[str] = set()
        self._streams = list(streams)
        self._turn = turn

    @asynccontextmanager
    async def post_stream(
        self, agent: str, session_id: str | None, message: str, *, key: str
    ) -> AsyncIterator[tuple[Parser, AsyncIterator[Frame]]]:
        self.asked.append(f"POST {message}")
        self.keys.add(key)
        yield Parser(), self._next()

    @asynccontextmanager
    async def get_stream(
        self, agent: str, session_id: str, *, cursor: str | None
    ) -> AsyncIterator[tuple[Parser, AsyncIterator[Frame]]]:
        self.asked.append(f"GET {cursor}")
        yield Parser(), self._next()

    async def turn(self, agent: str, session_id: str, turn_id: str) -> dict[str, Any]:
        self.asked.append("turn")
        if self._turn is None:
            raise Unreachable("nobody there")
        return self._turn

    async def messages(self, agent: str, session_id: str, *, limit: int) -> list[dict[str, Any]]:
        return [{"message_id": "m1", "content": "all of it"}]

    async def _next(self) -> AsyncIterator[Frame]:
        for step in self._streams.pop(0) if self._streams else [LOST]:
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE", 0.0)


async def follow(
    script: Script, *, session_id: str | None = "s", patience: float = 5.0, **how: Any
) -> tuple[Answer, list[str]]:
    """The answer, and the types of its frames."""
    how = how or {"message": "hi"}
    answer = Answer(script, "assistant", session_id, patience=patience, **how)
    return answer, [frame.type async for frame in answer.frames()]


async def test_an_unbroken_answer_is_one_request() -> None:
    script = Script([STARTED, text("one ", 2), text("two", 3), FINISHED])

    answer, kinds = await follow(script)

    assert (answer.text, answer.is_completed) == ("one two", True)
    assert (script.asked, kinds) == (["POST hi"], ["turn_started", "text", "text", "turn_finished"])


async def test_after_a_break_it_goes_on_behind_the_last_number() -> None:
    script = Script([STARTED, text("one ", 2), LOST], [LOST], [text("two", 3), FINISHED])

    answer, kinds = await follow(script)

    assert answer.text == "one two"
    assert script.asked == ["POST hi", "GET 2", "GET 2"]
    assert kinds == ["turn_started", "text", "offline", "offline", "online", "text", "turn_finished"]


async def test_a_shutdown_names_the_number_to_come_back_with() -> None:
    script = Script([STARTED, text("one ", 2), Frame("reconnect", fields={"after": "3:4"})], [text("two", 3), FINISHED])

    await follow(script)

    assert script.asked == ["POST hi", "GET 3:4"]


async def test_a_message_that_may_not_have_arrived_is_sent_again_under_the_same_key() -> None:
    script = Script([LOST], [refusal(503, "shutting_down")], [STARTED, FINISHED])

    await follow(script)

    assert script.asked == ["POST hi"] * 3
    assert len(script.keys) == 1


async def test_a_snapshot_replaces_the_text() -> None:
    snapshot = Frame("snapshot", id="8", fields={**MINE, "text": "one"})
    script = Script([STARTED, text("one ", 2), text("two", 3), LOST], [snapshot, FINISHED])

    answer, _ = await follow(script)

    assert answer.text == "one"


async def test_another_turns_text_is_not_ours() -> None:
    other = {"turn_id": "t0"}
    script = Script(
        [
            Frame("turn_queued", id="1", fields=MINE),
            text("not ours", 2),
            Frame("turn_finished", id="3", fields={**other, "status": "completed"}),
            STARTED,
            text("ours", 5),
            FINISHED,
        ]
    )

    answer, _ = await follow(script)

    assert answer.text == "ours"


async def test_the_end_of_another_turn_is_no_break() -> None:
    queued = Frame("turn_queued", id="1", fields=MINE)
    script = Script(
        [queued, LOST],
        [text("not ours", 2), Frame("done")],
        [STARTED, text("ours", 5), FINISHED],
        turn={"status": "queued"},
    )

    answer, kinds = await follow(script)

    assert answer.text == "ours"
    assert kinds.count("offline") == 1


async def test_an_end_that_nobody_tells_any_more_is_looked_up() -> None:
    turn = {**MINE, "status": "completed", "message_id": "m1"}
    script = Script([STARTED, text("one", 2), LOST], [], turn=turn)

    answer, kinds = await follow(script)

    assert (answer.text, answer.is_completed) == ("all of it", True)
    assert kinds[-2:] == ["snapshot", "turn_finished"]


async def test_an_open_turn_is_joined_without_a_message() -> None:
    script = Script([STARTED, text("one", 2), FINISHED])

    answer, _ = await follow(script, turn_id="t1")

    assert (answer.text, script.asked) == ("one", ["GET None"])


async def test_a_refusal_is_final() -> None:
    script = Script([STARTED, LOST], [refusal(410, "session_terminated")])

    with pytest.raises(Refused):
        await follow(script)


async def test_patience_has_an_end() -> None:
    with pytest.raises(Unreachable, match="the connection broke"):
        await asyncio.wait_for(follow(Script(), patience=0.05), 5)


async def test_a_one_shot_that_broke_is_not_tried_again() -> None:
    script = Script([STARTED, text("one", 2), LOST])

    with pytest.raises(Unreachable, match="without a session"):
        await follow(script, session_id=None)

    assert script.asked == ["POST hi"]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"status": "completed"}, None),
        ({"status": "cancelled", "reason": "replaced"}, "another message"),
        ({"status": "interrupted", "reason": "crash"}, "mid-answer"),
        ({"status": "failed", "reason": "llm_error"}, "llm_error"),
    ],
)
async def test_every_end_has_its_sentence(end: dict[str, str], words: str | None) -> None:
    answer, _ = await follow(Script([STARTED, Frame("turn_finished", fields={**MINE, **end})]))

    sentence = answer.failure()

    assert sentence is None if words is None else words in (sentence or "")
