"""A browser sends requests for any page it shows: what a foreign page, or a foreign name, may not do here."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.sse import open_stream
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRIEND = "https://app.example"
SETTINGS = {
    "server": {
        "cors_origins": [FRIEND],
        "allowed_hosts": ["hector.internal"],
        "public_url": "https://hector.example/base",
        "shutdown_grace": "300ms",
    }
}
SESSIONS = "/agents/assistant/sessions"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "file://",
        "http://[",
        "",
        "http://127.0.0.1:1",
        "ftp://127.0.0.1",
    ],
)
async def test_a_foreign_page_may_change_nothing(client: httpx.AsyncClient, upstream: Upstream, origin: str) -> None:
    talk = await Talk.begin(client)
    headers = {"Origin": origin}
    for method, path in (
        ("POST", SESSIONS),
        ("POST", f"{talk.path}/messages"),
        ("POST", f"{talk.path}/messages/stream"),
        ("POST", "/agents/assistant/messages/stream"),
        ("PATCH", talk.path),
        ("POST", f"{talk.path}/end"),
        ("DELETE", talk.path),
    ):
        refused = await client.request(method, path, headers=headers, content='{"message": "Hello"}')
        assert reason(refused) == (403, "forbidden_origin"), (method, path)
    assert (await talk.info())["status"] == "active"
    assert not upstream.requests


async def test_a_form_on_a_foreign_page_cannot_send_a_message(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """The one request that browsers send without asking first: a form with a text body that happens to be JSON."""
    refused = await client.post(
        "/agents/assistant/messages",
        headers={"Origin": "https://evil.example", "Content-Type": "text/plain"},
        content='{"message": "Hello", "x": "="}',
    )
    assert reason(refused) == (403, "forbidden_origin")
    assert "access-control-allow-origin" not in refused.headers


async def test_a_friends_page_may(client: httpx.AsyncClient, upstream: Upstream) -> None:
    response = await client.post(SESSIONS, headers={"Origin": FRIEND})
    assert response.status_code == 201
    assert response.headers["access-control-allow-origin"] == FRIEND
    exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
    rates = {"retry-after", "ratelimit", "ratelimit-policy"}
    assert exposed == {"x-session-id", "x-hector-session", "mcp-session-id", *rates}
    talk = Talk(client, response.json()["session_id"])
    async with open_stream(client, "GET", f"{talk.path}/messages/stream", headers={"Origin": FRIEND}) as stream:
        assert stream.response.headers["access-control-allow-origin"] == FRIEND


async def test_a_friends_page_can_read_refusals_too(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{SESSIONS}/sess_nope", headers={"Origin": FRIEND})
    assert response.status_code == 404
    assert response.headers["access-control-allow-origin"] == FRIEND


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_browser_that_asks_first_is_told_what_it_may_send(client: httpx.AsyncClient, method: str) -> None:
    headers = {
        "Origin": FRIEND,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,authorization,last-event-id,idempotency-key,x-user-id",
    }
    response = await client.options(SESSIONS, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == FRIEND
    assert method in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("last-event-id", "idempotency-key", "x-user-id", "authorization"))
    foreign = await client.options(SESSIONS, headers=headers | {"Origin": "https://evil.example"})
    assert foreign.headers.get("access-control-allow-origin") != "https://evil.example"


async def test_our_own_pages_may(client: httpx.AsyncClient, server: HectorServer) -> None:
    for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert (await client.post(SESSIONS, headers=headers)).status_code == 201
    public = {"Host": "hector.example", "Origin": "https://hector.example"}
    assert (await client.post(SESSIONS, headers=public)).status_code == 201


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "app.example", "localhos"]
)
async def test_a_name_that_is_not_ours_is_refused_for_reading_too(client: httpx.AsyncClient, host: str) -> None:
    """DNS rebinding: a foreign page whose name suddenly means this machine."""
    for method, path in (("GET", "/agents"), ("POST", SESSIONS), ("GET", "/openapi.json")):
        refused = await client.request(method, path, headers={"Host": host})
        assert reason(refused) == (421, "forbidden_host")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080", "localhost", "LOCALHOST:1", "192.168.1.7:8080",
             "hector.internal", "hector.internal:8080", "hector.example"],
)  # fmt: skip
async def test_addresses_and_configured_names_are_ours(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/agents", headers={"Host": host})).status_code == 200


async def test_curl_sends_no_origin_and_just_works(client: httpx.AsyncClient) -> None:
    assert good(await client.post(SESSIONS, headers={"User-Agent": "curl/8"}))["session_id"]
