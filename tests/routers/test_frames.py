"""One stream to one reader: what it is shown, when it ends, and that it never just stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from app.config.agent import AgentConfig
from app.conversation.readers import Readers
from app.conversation.view import View, view_of
from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.follow import Reading
from app.events.journal import Journal
from app.events.log import SessionLog
from app.events.run import Run
from app.events.tape import Tape
from app.routers.frames import EventStream
from app.storage.engine.database import Database
from tests.fixtures.clock import Clock
from tests.fixtures.events import an_event
from tests.fixtures.rows import a_session, store_session

TURN = View(frozenset({EventKind.DEBUG, EventKind.THINKING}), turn_id="t1")
SESSION = View(frozenset({EventKind.DEBUG, EventKind.THINKING}))


class Client:
    """A browser that reads one stream. With `slow`, each send takes until somebody calls `go_on`."""

    def __init__(self, *, slow: bool = False) -> None:
        self.sent = b""
        self.is_over = False
        self._left = asyncio.Event()
        self._slow = slow
        self._going = asyncio.Event()
        self.is_waiting = False

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            if self._slow and message["body"]:
                self.is_waiting = True
                await self._going.wait()
                self._going.clear()
                self.is_waiting = False
            self.sent += message["body"]
            self.is_over = not message.get("more_body", False)

    def leave(self) -> None:
        self._left.set()

    def go_on(self) -> None:
        self._going.set()

    @property
    def frames(self) -> list[str]:
        """The chunk of plain frames, the type of all others, `[DONE]`, and named ones with their name."""
        found = []
        for frame in self.sent.decode().split("\n\n"):
            lines = dict(line.partition(": ")[::2] for line in frame.splitlines() if ": " in line and line[0] != ":")
            if not lines:
                continue
            data = lines["data"]  # every block has some
            name = f"{lines['event']} " if "event" in lines else ""
            shown = data if data == "[DONE]" else orjson.loads(data).get("type") or orjson.loads(data)["chunk"]
            found.append(name + shown)
        return found


class Room:
    def __init__(self) -> None:
        self.database = Database(None)
        self.log = SessionLog(a_session(reserved_seq=1000), self.database, ring_bytes=100_000, clock_ms=Clock())
        self.log.tape = Tape("t1")
        self.readers = Readers(12)
        self.streaming: list[asyncio.Task[None]] = []

    def say(self, *texts: str) -> None:
        self.log.append_text(EventKind.TEXT, [text.encode() for text in texts])

    def think(self, *texts: str) -> None:
        self.log.append_text(EventKind.THINKING, [text.encode() for text in texts])

    def fact(self, kind: EventKind, turn_id: str = "t1") -> Run:
        run = self.log.take_fact(an_event(kind, turn_id))
        self.log.publish(run)
        return run

    def open(self, view: View, *, after: int = 0, slow: bool = False, merge: bool = True) -> Client:
        client = Client(slow=slow)
        journal = Journal(self.database, clock_ms=Clock())
        reading = Reading(self.log, journal, after=after, lag_bytes=65536, merge=merge)

        async def stream() -> None:
            with reading:
                scope = {"type": "http", "method": "GET", "request_id": "req_1"}
                answer = EventStream(reading, view, self.readers, lambda: {"phase": "model"})
                await answer(scope, client.receive, client.send)

        self.streaming.append(asyncio.ensure_future(stream()))
        return client


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    made = Room()
    await made.database.open()
    await store_session(made.database, a_session())
    yield made
    for task in made.streaming:
        task.cancel()
    await asyncio.gather(*made.streaming, return_exceptions=True)
    await made.database.close()


async def quiet() -> None:
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ended(room: Room) -> None:
    await asyncio.wait_for(asyncio.gather(*room.streaming), 2)


# -- what is shown ----------------------------------------------------------------------------------


async def test_a_post_follows_its_turn_and_ends_with_done(room: Room) -> None:
    client = room.open(TURN)
    room.fact(EventKind.TURN_STARTED)
    room.say("Hel", "lo")
    await quiet()
    room.fact(EventKind.TURN_FINISHED)
    room.fact(EventKind.TURN_STARTED, "t2")
    await ended(room)
    assert client.frames == ["turn_started", "Hel", "lo", "turn_finished", "[DONE]"]
    assert client.is_over


async def test_a_get_goes_on_through_turns_and_tells_each_end_by_name(room: Room) -> None:
    client = room.open(SESSION)
    for turn_id in ("t1", "t2"):
        room.say("a")
        room.fact(EventKind.TURN_FINISHED, turn_id)
        await quiet()
    assert client.frames == ["a", "turn_finished", "done [DONE]"] * 2
    assert not client.is_over


async def test_a_get_may_end_with_the_open_turn(room: Room) -> None:
    client = room.open(replace(SESSION, until_turn="t1"))
    room.fact(EventKind.TURN_FINISHED, "t0")
    room.fact(EventKind.TURN_FINISHED, "t1")
    await ended(room)
    assert client.frames == ["turn_finished", "done [DONE]"] * 2


async def test_a_get_begins_with_the_cursor_it_would_come_back_to(room: Room) -> None:
    room.say("a", "b", "c")
    client = room.open(SESSION, after=2)
    await quiet()
    assert client.sent.startswith(b': cursor 2\nretry: 1000\nid: 3\ndata: {"chunk": "c"}\n\n')


async def test_a_queued_post_is_not_shown_the_turn_before_it(room: Room) -> None:
    client = room.open(replace(TURN, turn_id="t2"))
    room.fact(EventKind.TURN_QUEUED, "t2")
    room.say("not yours")
    room.fact(EventKind.TURN_FINISHED, "t1")
    room.fact(EventKind.TURN_FINISHED, "t2")
    await ended(room)
    assert client.frames == ["turn_queued", "turn_finished", "[DONE]"]


@pytest.mark.parametrize(
    ("reasoning", "debug", "hidden"),
    [
        ({}, False, {EventKind.THINKING, EventKind.DEBUG}),
        ({"show_thinking": True}, False, {EventKind.DEBUG}),
        ({"show_debug_info": True}, False, {EventKind.THINKING}),
        ({}, True, {EventKind.THINKING}),
    ],
)
def test_what_is_hidden_follows_the_configuration(
    reasoning: dict[str, bool], debug: bool, hidden: set[EventKind]
) -> None:
    config = AgentConfig.model_validate({"reasoning": reasoning})
    assert view_of(config, debug=debug, text_only=False).hidden == hidden


def test_a_plain_view_sends_the_shared_bytes() -> None:
    assert view_of(AgentConfig(), debug=False, text_only=False).is_plain
    for settings in (
        {"streaming": {"chunk_size": 5}},
        {"streaming": {"delay_ms": 5}},
        {"reasoning": {"enable_streaming": False}},
    ):
        assert not view_of(AgentConfig.model_validate(settings), debug=False, text_only=False).is_plain
    assert not view_of(AgentConfig(), debug=False, text_only=True).is_plain
    assert not view_of(AgentConfig(), debug=False, text_only=False, skip=(4, 1)).is_plain


async def test_hidden_kinds_leave_their_numbers_out(room: Room) -> None:
    client = room.open(TURN)
    room.think("hm")
    room.say("yes")
    await quiet()
    assert client.sent.endswith(b'id: 2\ndata: {"chunk": "yes"}\n\n')
    assert client.frames == ["yes"]


async def test_only_text_is_exactly_plain_chunks_and_done(room: Room) -> None:
    client = room.open(replace(TURN, text_only=True))
    room.fact(EventKind.TURN_STARTED)
    room.say("Hel", "lo")
    room.fact(EventKind.TURN_FINISHED)
    await ended(room)
    assert client.sent == b'retry: 1000\ndata: {"chunk": "Hel"}\n\ndata: {"chunk": "lo"}\n\ndata: [DONE]\n\n'


async def test_a_whole_answer_is_one_chunk(room: Room) -> None:
    client = room.open(replace(TURN, whole=True))
    for text in ("Hel", "lo"):
        room.say(text)
        await quiet()
    assert client.frames == []
    room.fact(EventKind.TURN_FINISHED)
    await ended(room)
    assert client.frames == ["Hello", "turn_finished", "[DONE]"]


async def test_pieces_have_the_readers_size_and_numbers_inside_an_event(room: Room) -> None:
    client = room.open(replace(TURN, chunk_size=3), merge=False)
    room.say("abcde")
    room.fact(EventKind.TURN_FINISHED)
    await ended(room)
    assert client.frames == ["abc", "de", "turn_finished", "[DONE]"]
    assert b'id: 1:3\ndata: {"chunk": "abc"}' in client.sent
    assert b'id: 1\ndata: {"chunk": "de"}' in client.sent


async def test_a_reader_that_comes_back_inside_an_event_gets_its_rest(room: Room) -> None:
    room.say("abcde", "fg")
    client = room.open(replace(SESSION, skip=(1, 3)), after=0)
    await quiet()
    assert client.frames == ["de", "fg"]
    assert client.sent.startswith(b": cursor 1:3\n"), "cut again now, it comes back to the same place"


async def test_what_could_not_be_committed_ends_nothing(room: Room) -> None:
    client = room.open(TURN)
    lost = room.log.take_fact(an_event(EventKind.TURN_FINISHED, "t1"))
    room.log.void(lost)
    await quiet()
    assert (client.frames, client.is_over) == ([], False)
    room.fact(EventKind.TURN_FINISHED)
    await ended(room)
    assert client.frames == ["turn_finished", "[DONE]"]


# -- how it ends ------------------------------------------------------------------------------------


async def test_the_end_of_the_session_ends_every_stream(room: Room) -> None:
    post, get = room.open(TURN), room.open(SESSION)
    room.log.session = replace(room.log.session, status=SessionStatus.ENDED)
    room.fact(EventKind.SESSION_ENDED)
    await ended(room)
    assert post.frames == ["session_ended", "[DONE]"]
    assert get.frames == ["session_ended"]


async def test_an_end_that_is_still_being_written_is_waited_for(room: Room) -> None:
    client = room.open(SESSION)
    await quiet()
    room.log.session = replace(room.log.session, status=SessionStatus.ENDED)
    fact = room.log.take_fact(an_event(EventKind.SESSION_ENDED))
    room.log.wake()
    await quiet()
    assert not client.is_over
    room.log.publish(fact)
    await ended(room)
    assert client.frames == ["session_ended"]


async def test_a_terminate_is_told_to_a_reader_after_the_text_before_it(room: Room) -> None:
    post, get = room.open(TURN), room.open(SESSION)
    room.fact(EventKind.TURN_STARTED)
    await quiet()
    room.say("sent")
    room.log.over = SessionStatus.TERMINATED
    room.log.cut_at = room.log.last_seq
    facts = [
        room.log.take_fact(an_event(EventKind.TURN_FINISHED, "t1")),
        room.log.take_fact(an_event(EventKind.SESSION_TERMINATED)),
    ]
    await quiet()
    room.log.publish(*facts)
    await ended(room)
    assert post.frames == ["turn_started", "sent", "turn_finished", "session_terminated", "[DONE]"]
    assert get.frames == ["turn_started", "sent", "turn_finished", "done [DONE]", "session_terminated"]


async def test_a_terminate_drops_what_a_slow_reader_was_not_sent_yet(room: Room) -> None:
    client = room.open(SESSION, slow=True)
    await quiet()
    client.go_on()  # for the opening
    await quiet()
    room.fact(EventKind.TURN_STARTED)
    await quiet()
    client.go_on()
    await quiet()
    room.say("in its pipe")
    room.say("dropped")
    room.log.over = SessionStatus.TERMINATED
    room.log.cut_at = room.log.last_seq
    room.fact(EventKind.SESSION_TERMINATED)
    for _ in range(3):
        client.go_on()
        await quiet()
    await ended(room)
    assert client.frames == ["turn_started", "in its pipe", "session_terminated"]


async def test_text_is_sent_in_the_tick_it_comes_in(room: Room) -> None:
    post, get = room.open(TURN), room.open(SESSION)
    room.fact(EventKind.TURN_STARTED)
    await quiet()
    room.say("now")
    assert post.frames == get.frames == ["turn_started", "now"]


async def test_a_post_that_waits_is_not_sent_the_text_of_the_turn_before(room: Room) -> None:
    client = room.open(replace(TURN, turn_id="t2"))
    await quiet()
    room.say("not yours")
    await quiet()
    room.fact(EventKind.TURN_FINISHED)
    room.log.tape = Tape("t2")
    room.fact(EventKind.TURN_STARTED, "t2")
    await quiet()
    room.say("yours")
    assert client.frames == ["turn_started", "yours"]
    room.fact(EventKind.TURN_FINISHED, "t2")
    await ended(room)
    assert client.frames == ["turn_started", "yours", "turn_finished", "[DONE]"]


async def test_a_slow_reader_is_sent_each_text_once_and_what_came_meanwhile_after_it(room: Room) -> None:
    client = room.open(SESSION, slow=True)
    await quiet()
    for text in ("a", "b", "c", "d"):
        client.go_on()
        await quiet()
        room.say(text)
        room.say(text + "2")
    for _ in range(8):
        client.go_on()
        await quiet()
    assert "".join(client.frames) == "aa2bb2cc2dd2"


async def test_a_terminate_drops_paced_text(room: Room) -> None:
    client = room.open(replace(TURN, chunk_size=1, delay_seconds=0.01), merge=False)
    room.say("x" * 1000)
    await asyncio.sleep(0.03)
    room.log.over = SessionStatus.TERMINATED
    room.log.cut_at = room.log.last_seq
    room.fact(EventKind.TURN_FINISHED)
    room.fact(EventKind.SESSION_TERMINATED)
    await ended(room)
    assert client.frames[-3:] == ["turn_finished", "session_terminated", "[DONE]"]
    assert 0 < client.frames.count("x") < 1000


async def test_at_shutdown_a_reader_is_told_where_to_come_back(room: Room) -> None:
    client = room.open(TURN)
    room.say("a", "b")
    await quiet()
    room.readers.stop()
    await ended(room)
    assert client.frames == ["a", "b", "reconnect"]
    assert b'"after":2}' in client.sent
    late = room.open(SESSION, after=2)
    await ended(room)
    assert late.frames == ["reconnect"]
    assert late.sent.startswith(b": cursor 2\nretry: ")
    assert late.sent.endswith(b'\nid: 2\ndata: {"chunk": "", "type": "reconnect", "after":2}\n\n')
    assert len(room.readers) == 0


async def test_at_shutdown_a_reader_of_plain_text_is_sent_nothing_else(room: Room) -> None:
    client = room.open(replace(SESSION, text_only=True), merge=False)
    room.say("a")
    await quiet()
    room.readers.stop()
    await ended(room)
    assert client.sent == b': cursor 0\nretry: 1000\ndata: {"chunk": "a"}\n\n'


async def test_at_shutdown_a_paced_reader_comes_back_to_what_it_was_sent(room: Room) -> None:
    client = room.open(replace(TURN, chunk_size=2, delay_seconds=5), merge=False)
    room.say("abcdef")
    await asyncio.sleep(0.01)
    room.readers.stop()
    await ended(room)
    assert client.frames == ["ab", "reconnect"]
    assert b'"after":"1:2"}' in client.sent


async def test_a_reader_that_left_is_gone_at_once(room: Room) -> None:
    client = room.open(SESSION)
    await quiet()
    assert (room.log.readers, len(room.readers)) == (1, 1)
    client.leave()
    await ended(room)
    assert (room.log.readers, len(room.readers)) == (0, 0)


async def test_a_reader_that_wanted_only_what_there_was_is_done_then(room: Room) -> None:
    room.say("a")
    client = room.open(replace(TURN, until_caught_up=True))
    await ended(room)
    assert client.frames == ["a", "[DONE]"]


# -- waiting ----------------------------------------------------------------------------------------


async def test_what_comes_while_a_slow_reader_is_sent_something_is_not_slept_over(room: Room) -> None:
    client = room.open(TURN, slow=True)
    room.fact(EventKind.TURN_STARTED)
    while not client.is_waiting:
        await asyncio.sleep(0)
    room.say("a")  # the wake-up finds nobody asleep
    room.fact(EventKind.TURN_FINISHED)
    for _ in range(5):
        client.go_on()
        await quiet()
    await ended(room)
    assert client.frames == ["turn_started", "a", "turn_finished", "[DONE]"]


async def test_a_silent_stream_is_told_what_goes_on(room: Room) -> None:
    client = room.open(SESSION)
    await quiet()
    room.log.wake()
    await quiet()
    assert client.sent == b': cursor 0\n: heartbeat {"phase":"model"}\n'
    room.say("a")
    await quiet()
    room.log.wake()
    await quiet()
    room.fact(EventKind.TURN_FINISHED)
    await quiet()
    assert client.frames == ["a", "turn_finished", "done [DONE]"]


async def test_only_the_silent_are_woken(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.conversation.readers.TICK_SECONDS", 0.01)
    client = room.open(SESSION)
    await quiet()
    beating = asyncio.ensure_future(room.readers.run())
    await asyncio.sleep(0.03)
    assert b"heartbeat" not in client.sent
    room.readers.heartbeat_seconds = 0.01
    await asyncio.sleep(0.03)
    beating.cancel()
    assert b"heartbeat" in client.sent
