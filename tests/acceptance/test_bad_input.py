"""Whatever is sent, the answer is a sentence that helps, quickly, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"server": {"max_message": 1000, "shutdown_grace": "300ms"}}
SESSIONS = "/agents/assistant/sessions"
MESSAGES = "/agents/assistant/messages"


@pytest.mark.parametrize(
    "body", ["{", '{"message": "Hello"', "message=Hello", "{'message': 'Hello'}", "\xff", "nan", "[1,"]
)
@pytest.mark.parametrize("path", [SESSIONS, MESSAGES, f"{MESSAGES}/stream"])
async def test_what_is_not_json_is_400_everywhere(client: httpx.AsyncClient, path: str, body: str) -> None:
    assert reason(await client.post(path, content=body.encode("latin-1"))) == (400, "invalid_json")


@pytest.mark.parametrize(
    "body",
    [
        {},
        None,
        [],
        [1],
        "Hello",
        7,
        {"message": ""},
        {"message": None},
        {"message": 7},
        {"message": {"a": 1}},
        {"message": ["Hello"]},
        {"text": "Hello"},
        {"message": "Hello", "background": "yes"},
        {"message": "Hello", "on_busy": "explode"},
    ],
)
@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/stream"])
async def test_a_message_that_is_none_is_422_and_says_which_field(
    client: httpx.AsyncClient, upstream: Upstream, path: str, body: object
) -> None:
    refused = await client.post(path, json=body)
    assert reason(refused) == (422, "invalid_request")
    assert refused.json()["error"]["code"] == "INVALID_ARGUMENT"
    assert not upstream.requests


@pytest.mark.parametrize("text", [" ", "\n\t", "\u200b\ufeff", "\u3000\u2060\u3164"])
async def test_a_blank_message_is_422_at_every_door(client: httpx.AsyncClient, upstream: Upstream, text: str) -> None:
    talk = await Talk.begin(client, messages=[{"role": "user", "content": "Hello"}])
    message = (await talk.messages())[0]["message_id"]
    said = {"role": "user", "content": text}
    doors: list[tuple[str, str, dict[str, object]]] = [
        ("POST", MESSAGES, {"message": text}),
        ("POST", f"{MESSAGES}/stream", {"message": text}),
        ("POST", f"{talk.path}/messages", {"message": text}),
        ("POST", f"{talk.path}/messages", {"message": text, "background": True}),
        ("POST", f"{talk.path}/messages/stream", {"message": text}),
        ("POST", f"{talk.path}/messages", {**said, "turn": False}),
        ("POST", SESSIONS, {"messages": [said]}),
        ("PUT", f"{talk.path}/messages/{message}", {"content": text}),
    ]
    for method, path, body in doors:
        refused = await client.request(method, path, json=body)
        assert reason(refused) == (422, "invalid_request"), path
        assert "blank" in refused.json()["error"]["message"]
    assert not upstream.requests
    assert len(await talk.messages()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"session_id": 7},
        {"session_id": ""},
        {"session_id": "x" * 129},
        {"session_id": "../../etc"},
        {"session_id": "a/b"},
        {"title": ["x"]},
        {"metadata": "x"},
        {"metadata": []},
        {"user_id": 7},
        {"ephemeral": "yes"},
    ],
)
async def test_a_session_that_cannot_be_is_422(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert reason(await client.post(SESSIONS, json=body)) == (422, "invalid_request")


async def test_unknown_fields_are_ignored(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, colour="blue")
    assert (await talk.say("Hello", colour="blue"))["response"] == " t0 t1 t2"


@pytest.mark.parametrize("inside", ["1", '"\\u0000"'])
@pytest.mark.parametrize("depth", [50, 100, 252, 300, 1000, 5000, 100_000])
async def test_deeply_nested_json_is_refused_or_taken_but_never_our_fault(
    client: httpx.AsyncClient, depth: int, inside: str
) -> None:
    for body in (
        '{"metadata": {"a": ' + "[" * depth + inside + "]" * depth + "}}",
        '{"metadata": ' + '{"a": ' * depth + inside + "}" * depth + "}",
        "[" * depth + inside + "]" * depth,
    ):
        answer = await client.post(SESSIONS, content=body)
        assert answer.status_code == 201 or reason(answer)[0] in (400, 413, 422)
        if answer.status_code == 201:
            talk = Talk(client, answer.json()["session_id"])
            assert (await talk.info())["metadata"]
            assert good(await client.get(SESSIONS))["sessions"][0]["session_id"] == talk.session_id
            assert (await talk.terminate())["status"] == "terminated"


async def test_numbers_and_text_beyond_measure_are_refused_or_taken_but_never_our_fault(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    for body in ('{"metadata": {"n": 1e400}}', '{"metadata": {"n": ' + "9" * 4000 + "}}", '{"title": "\\ud800"}'):
        assert (await client.post(SESSIONS, content=body)).status_code in (201, 400, 422)
    lone = await client.post(MESSAGES, content='{"message": "half a pair: \\ud83d"}')
    assert lone.status_code in (200, 400, 422)


@pytest.mark.parametrize("is_announced", [True, False])
async def test_fifty_megabytes_are_refused_at_once(
    server: HectorServer, client: httpx.AsyncClient, is_announced: bool
) -> None:
    """By their announced length before the first byte, else as soon as they are too many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    length = "Content-Length: 52428800" if is_announced else "Transfer-Encoding: chunked"
    writer.write(f"POST {MESSAGES} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n\r\n".encode())
    block = b"x" * 65536
    if not is_announced:
        block = b"10000\r\n" + block + b"\r\n"
    begin, sent = time.monotonic(), 0

    async def pour() -> None:
        nonlocal sent
        while sent < 50 << 20:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(0)
            sent += 65536

    pouring = asyncio.create_task(pour())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    pouring.cancel()
    await asyncio.wait([pouring])
    writer.close()
    assert b" 413 " in head.split(b"\r\n")[0]
    assert time.monotonic() - begin < 3
    assert sent < 50 << 20
    assert good(await client.get("/ready"))


async def test_a_body_up_to_the_limit_is_read_and_one_byte_more_is_not(client: httpx.AsyncClient) -> None:
    limit = 1 << 20
    body = json.dumps({"title": "x"}).encode()
    assert (await client.post(SESSIONS, content=body.ljust(limit))).status_code == 201
    refused = await client.post(SESSIONS, content=body.ljust(limit + 1))
    assert reason(refused) == (413, "too_large")
    assert refused.json()["error"]["code"] == "RESOURCE_EXHAUSTED"


async def test_a_message_longer_than_the_limit_is_refused(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    assert (await talk.say("𝕏" * 1000))["response"]
    assert reason(await talk.post("x" * 1001)) == (413, "too_large")


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=1.5", "cursor=nonsense", "cursor=", "status=gone", "order=size", "limit=" + "9" * 5000]
)
async def test_a_query_that_makes_no_sense_is_422_or_held_to_its_bounds(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{SESSIONS}?{query}")
    assert answer.status_code == 200 or reason(answer) == (422, "invalid_request")


async def test_limits_of_pages_are_held_to_their_bounds(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await Talk.begin(client)
    for limit, expected in (("-5", 1), ("0", 1), ("2", 2)):
        assert len(good(await client.get(f"{SESSIONS}?limit={limit}"))["sessions"]) == expected
    assert (await client.get(f"{SESSIONS}?limit=1000000")).status_code == 200
    talk = await Talk.begin(client)
    for query in ("before=-1", "before=99999999999999999999", "limit=0"):
        assert (await client.get(f"{talk.path}/messages?{query}")).status_code == 200
    for query in ("after=-5", "after=99999999999999999999", "limit=0"):
        assert (await client.get(f"{talk.path}/events?{query}")).status_code == 200
    assert reason(await client.get(f"{talk.path}/events?after=x")) == (422, "invalid_request")


@pytest.mark.parametrize(
    "name", ["%2e%2e", "a%2Fb", "%F0%9F%91%8B", "x" * 5000, "'; drop table sessions; --", "%ff%fe"]
)
async def test_strange_names_in_the_address_are_unknown(client: httpx.AsyncClient, name: str) -> None:
    for path in (f"{SESSIONS}/{name}", f"/agents/{name}/sessions", f"{SESSIONS}/{name}/messages"):
        assert (await client.get(path)).status_code == 404


async def test_the_character_that_no_database_stores_is_replaced_in_texts_and_refused_in_addresses(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, title="a\0b")
    assert (await talk.info())["title"] == "a\ufffdb"
    upstream.answer(tokens=["c\0d"])
    assert (await talk.say("e\0f"))["response"] == "c\ufffdd"
    assert await talk.texts() == ["e\ufffdf", "c\ufffdd"]
    for path in (f"{SESSIONS}/%00", f"{SESSIONS}?status=%00"):
        assert reason(await client.get(path)) == (422, "invalid_request")


async def test_a_wrong_method_is_405_and_an_unknown_address_404(client: httpx.AsyncClient) -> None:
    refused = await client.put(SESSIONS, json={})
    assert reason(refused) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD, POST"
    assert reason(await client.delete(MESSAGES)) == (405, "method_not_allowed")
    talk = await Talk.begin(client)
    assert reason(await client.delete(f"{talk.path}/messages/stream")) == (405, "method_not_allowed")
    assert reason(await client.get(f"{talk.path}/nothing")) == (404, "not_found")


async def test_what_is_not_even_http_disturbs_nobody(server: HectorServer, client: httpx.AsyncClient) -> None:
    for noise in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"\0" * 1000,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(noise)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert good(await client.get("/health"))


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(
    server: HectorServer, client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST {talk.path}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b'{"message": "Hel')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await talk.say("Hello"))["response"] == " t0 t1 t2"
    assert await talk.texts() == ["Hello", " t0 t1 t2"]


async def test_every_answer_names_its_request(client: httpx.AsyncClient) -> None:
    refused = await client.get(f"{SESSIONS}/sess_nope")
    assert refused.headers["x-request-id"] == refused.json()["error"]["request_id"]


async def test_a_request_has_bounds_before_it_is_one(server: HectorServer, client: httpx.AsyncClient) -> None:
    """On the real server; each bound has its tests in tests/routers/test_protocol.py."""
    vast = {"X": "x" * 100_000}
    assert reason(await client.get("/agents", headers=vast)) == (431, "headers_too_large")
    assert reason(await client.get("/agents?" + "x" * 10_000)) == (414, "url_too_long")
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    made = await client.post(SESSIONS, json={"session_id": "upgraded"}, headers=upgrade)
    assert good(made)["session_id"] == "upgraded"
    twice = [("Authorization", "Bearer k")] * 2
    assert reason(await client.get("/agents", headers=twice)) == (400, "invalid_header")
    assert "WARNING" not in server.log_text
