"""A reader that was cut comes back with its last number and misses nothing, sees nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket

import httpx
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.sse import DONE, Frame, Screen, text_of, types_of
from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "agents": {
        "assistant": {"memory": {"working": {"strategy": "buffer_window"}}},
        "paced": {"streaming": {"chunk_size": 7, "delay_ms": 5}},
    }
}

TOKENS = 200
ANSWER = "".join([f" t{number}" for number in range(TOKENS)])


async def read_in_pieces(talk: Talk, *, every: int, by_query: bool, first: str = "Hello") -> Screen:
    """Leave after each `every`-th text frame and come back with the cursor, until the turn is over."""
    screen = Screen()
    async with talk.stream(first) as stream:
        await stream.take(every)
        screen.show(*stream.frames)
    while True:
        query, last_id = (f"?after={screen.cursor}", None) if by_query else ("", screen.cursor)
        async with talk.follow(query, last_id=last_id) as stream:
            async for frame in stream:
                screen.show(frame)
                if frame.is_done:
                    return screen
                if len([seen for seen in stream.frames if seen.type == "text"]) == every:
                    break


@pytest.mark.parametrize("by_query", [False, True])
@pytest.mark.parametrize("every", [1, 3, 7, 32, 100])
async def test_the_text_is_whole_however_often_the_reader_is_cut(
    client: httpx.AsyncClient, upstream: Upstream, every: int, by_query: bool
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=TOKENS, delay=0.002)
    screen = await read_in_pieces(talk, every=every, by_query=by_query)
    assert screen.text == ANSWER
    assert (await talk.texts())[1] == ANSWER


@pytest.mark.parametrize("every", [1, 20])
async def test_a_paced_reader_comes_back_into_the_middle_of_a_token(
    client: httpx.AsyncClient, upstream: Upstream, every: int
) -> None:
    talk = await Talk.begin(client, agent="paced")
    upstream.answer(tokens=["twelve chars"] * 30, delay=0.002)
    screen = await read_in_pieces(talk, every=every, by_query=every == 1)
    assert screen.text == "twelve chars" * 30


async def test_a_fragment_carries_the_characters_sent_of_its_event(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, agent="paced")
    upstream.answer(tokens=["twelve chars", "and more"])
    await talk.say("Hello")
    frames = [frame for frame in await talk.replay(1) if frame.type == "text"]
    assert [(frame.id, frame.chunk) for frame in frames] == [
        ("2:7", "twelve "),
        ("3:2", "charsan"),
        ("3", "d more"),
    ]
    for known in range(3):
        async with talk.follow("?until=turn_end", last_id=frames[known].id) as stream:
            again = [frame for frame in await stream.rest() if frame.type == "text"]
        assert again == frames[known + 1 :]


async def test_a_fragments_cursor_is_understood_by_an_unpaced_server_too(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["abcdef", "ghi"])
    await talk.say("Hello")
    assert text_of(await talk.replay("2:4")) == "efghi"
    assert text_of(await talk.replay("2:6")) == "ghi"
    assert text_of(await talk.replay("2:600")) == "ghi"


async def test_what_was_finished_long_ago_is_replayed_frame_for_frame(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    live: list[Frame] = []
    for number in range(3):
        upstream.answer(tokens=["\u00e9", '"quoted"', "\n", f"end {number}", "𝕏"])
        live += (await talk.stream_all("Hello"))[:-1]
    warm = [frame for frame in await talk.replay(0) if not frame.is_done]
    assert warm == live
    assert await server.stop() == 0
    await server.start()
    cold = await talk.replay(0)
    assert [frame for frame in cold if not frame.is_done] == live
    marks = [place for place, frame in enumerate(cold) if frame.is_done]
    assert [cold[place - 1].type for place in marks] == ["turn_finished"] * 3
    for after in range(1, live[-1].seq):
        part = [frame for frame in await talk.replay(after) if not frame.is_done]
        assert part == [frame for frame in live if frame.seq > after]


@pytest.mark.parametrize("garbage", ["x", "-7", "1.5", "1:x", ":", "99999999", "9" * 40, "2 3", "²"])
async def test_a_cursor_that_makes_no_sense_counts_as_none(
    client: httpx.AsyncClient, upstream: Upstream, garbage: str
) -> None:
    talk = await Talk.begin(client)
    await talk.say("Hello")
    upstream.answer(tokens=2, hang="after_tokens")
    async with talk.stream("again") as running:
        await running.take(2)
        response_headers = {b"Last-Event-ID": garbage.encode()}
        async with client.stream("GET", f"{talk.path}/messages/stream", headers=response_headers) as response:
            assert response.status_code == 200
            async for block in response.aiter_text():
                if "turn_started" in block:
                    break
        async with talk.follow(f"?after={garbage}") as stream:
            assert (await anext(stream)).json["message"] == "again"
        await talk.cancel()


@pytest.mark.parametrize("after", ["0", "-1"])
async def test_after_zero_begins_at_the_start_of_what_is_kept(
    client: httpx.AsyncClient, upstream: Upstream, after: str
) -> None:
    talk = await Talk.begin(client)
    await talk.say("one")
    await talk.say("two")
    async with talk.follow(f"?after={after}") as stream:
        started = [await stream.until("turn_started") for _ in range(2)]
    assert [frame.json["message"] for frame in started] == ["one", "two"]


async def test_a_last_event_id_beats_the_address(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    live = await talk.stream_all("Hello")
    async with talk.follow("?after=0&until=turn_end", last_id="3") as stream:
        assert (await stream.rest())[0] == live[3 - 1 + 1]


async def test_until_turn_end_closes_with_the_open_turn_and_not_with_the_next(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, delay=0.05)
    await talk.start("one")
    second = await talk.start("two")
    async with talk.follow("?until=turn_end") as stream:
        frames = await stream.rest()
    await talk.finished(second)
    assert [frame.json["message"] for frame in frames if frame.type == "turn_started"] == ["one"]
    assert types_of(frames)[-2:] == ["turn_finished", "done"]


async def test_with_nothing_to_wait_for_and_nothing_to_tell_the_answer_is_204(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    path = f"{talk.path}/messages/stream"
    assert (await client.get(f"{path}?until=turn_end")).status_code == 204
    last = (await talk.stream_all("Hello"))[-2]
    assert (await client.get(f"{path}?until=turn_end")).status_code == 204
    response = await client.get(f"{path}?until=turn_end", headers={"Last-Event-ID": str(last.id)})
    assert (response.status_code, response.content) == (204, b"")
    assert text_of(await talk.replay(2)) == " t1 t2"
    assert reason(await client.get(f"{path}?until=never")) == (422, "invalid_request")


@pytest.mark.parametrize("query", ["", "&frames=text"])
async def test_a_reader_below_numbers_without_events_is_not_called_back_for_ever(
    client: httpx.AsyncClient, upstream: Upstream, query: str
) -> None:
    """Messages that no turn made have numbers and no events: an empty answer would leave the cursor where it is."""
    talk = await Talk.begin(client, messages=[{"role": "user", "content": "Hi"}])
    path = f"{talk.path}/messages/stream?until=turn_end{query}"
    assert (await client.get(f"{path}&after=0")).status_code == 204
    last = (await talk.stream_all("Hello"))[-2]
    note = {"role": "assistant", "content": "By the way.", "turn": False}
    assert (await client.post(f"{talk.path}/messages", json=note)).status_code == 201
    answer = await client.get(path, headers={"Last-Event-ID": str(last.id)})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_post_that_is_sent_again_with_its_cursor_goes_on_instead_of_starting_anew(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=100, delay=0.005)
    screen = Screen()
    async with talk.stream("Hello") as stream:
        await stream.take(10)
        screen.show(*stream.frames)
    async with talk.stream("Hello", headers={"Last-Event-ID": str(screen.cursor)}) as stream:
        screen.show(*await stream.rest())
        assert stream.frames[-1] == Frame(DONE)
    assert screen.text == (await talk.texts())[1]
    assert len(upstream.requests) == 1
    assert len(await talk.messages()) == 2


async def test_a_post_sent_again_after_the_end_gets_just_the_mark(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    live = await talk.stream_all("Hello")
    again = await talk.stream_all("Hello", headers={"Last-Event-ID": str(live[-2].id)})
    assert again == [Frame(DONE)]
    part = await talk.stream_all("Hello", headers={"Last-Event-ID": "2"})
    assert part == live[2:]
    assert len(upstream.requests) == 1


async def test_a_post_with_an_old_cursor_and_another_text_is_a_new_message(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    live = await talk.stream_all("Hello")
    frames = await talk.stream_all("Something else", headers={"Last-Event-ID": str(live[-2].id)})
    assert frames[0].json["message"] == "Something else"
    assert len(upstream.requests) == 2


async def read_slowly(server: HectorServer, path: str, *, attached: asyncio.Event, hurry: asyncio.Event) -> bytes:
    """GET by hand: 300 bytes a second until `hurry`, then as fast as it comes. The raw response, up to the mark."""
    pipe = socket.socket()
    pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the kernel takes megabytes for us
    pipe.connect(("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=pipe, limit=2048)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    received = b""
    try:
        while b"event: done" not in received[-4000:]:
            received += await reader.read(65536 if hurry.is_set() else 300)
            attached.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), 1)
    finally:
        writer.close()
    return received


def unchunked(raw: bytes) -> bytes:
    """The body of a chunked response, as far as it came."""
    body, rest = b"", raw.partition(b"\r\n\r\n")[2]
    while (found := re.match(rb"([0-9a-f]+)\r\n", rest)) is not None:
        size = int(found[1], 16)
        body += rest[found.end() : found.end() + size]
        rest = rest[found.end() + size + 2 :]
    return body


def frames_of(body: bytes) -> list[Frame]:
    frames = []
    for block in body.decode().split("\n\n"):
        lines = dict([line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":"])
        if "data" in lines:
            frames.append(Frame(lines["data"], lines.get("id"), lines.get("event")))
    return frames


async def test_a_slow_reader_neither_slows_the_turn_nor_loses_text(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    """5 MB in 5000 deltas against a reader of 300 bytes a second."""
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=[f"{number:06d}" + "x" * 1018 for number in range(5000)])
    alone = await talk.say("Nobody else reads this")
    attached, hurry = asyncio.Event(), asyncio.Event()
    path = f"{talk.path}/messages/stream?after={(await talk.info())['last_seq']}"
    slow = asyncio.create_task(read_slowly(server, path, attached=attached, hurry=hurry))
    await attached.wait()
    said = await talk.say("Somebody reads this slowly")
    assert said["response"] == alone["response"]
    assert said["timings"]["total_ms"] < 10_000, "at its reader's pace it would take hours"
    hurry.set()
    texts = [frame for frame in frames_of(unchunked(await slow)) if frame.type == "text"]
    assert text_of(texts) == alone["response"]
    assert len(texts) < 4000, "a reader that lags gets fewer and larger frames"
    assert [frame.seq for frame in texts] == sorted({frame.seq for frame in texts})


async def test_any_number_of_readers_of_a_long_past_turn_get_the_same_text(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=1000)
    live = await talk.stream_all("Hello")
    replays = await asyncio.gather(*[talk.replay(0) for _ in range(8)])
    for frames in replays:
        assert frames[:-1] == live[:-1]
