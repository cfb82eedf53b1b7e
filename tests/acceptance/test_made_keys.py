"""Keys made while the server runs, by the commands and by HTTP: what they open, and that nothing opens once revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.domain.principal import Scope
from app.doors.scopes import _ROUTES
from tests.cli.command import Hector
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import open_stream
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.web_socket import web_socket

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR, PLAIN = "key-of-operator-00", "key-of-plain-00000"
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "auth": {
        "keys": {
            "operator": {"key": OPERATOR, "scopes": ["admin"]},
            "half": {"key": "key-of-half-000000", "scopes": ["admin"], "agents": ["assistant"]},
            "plain": PLAIN,
        }
    },
    "llms": {"demo": {"type": "scripted", "script": ["Noted."]}},
    "agents": {"assistant": {}, "other": {}},
}
UNKNOWN = (401, "unauthenticated")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = HectorServer(Path(tmp_path_factory.mktemp("keys")), SETTINGS)
    await started.start()
    yield started
    await started.close()


def client(server: HectorServer, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False)


@pytest_asyncio.fixture(loop_scope="module")
async def admin(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with client(server, OPERATOR) as opened:
        yield opened


async def make(admin: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    return good(await admin.post("/admin/keys", json=body))


async def test_a_key_is_made_used_listed_and_revoked(admin: httpx.AsyncClient, server: HectorServer) -> None:
    made = await make(admin, name="shop", expires="90d")
    assert made["key"].startswith("hk_")
    assert made["scopes"] == ["approve", "chat", "memory", "read"]
    async with client(server, made["key"]) as shop:
        talk = await Talk.begin(shop)
        assert (await talk.say("Hi"))["response"] == "Noted."
        assert reason(await shop.get("/usage")) == (403, "missing_scope")
        [listed] = [key for key in good(await admin.get("/admin/keys"))["keys"] if key["name"] == "shop"]
        assert "key" not in listed
        assert (listed["status"], listed["created_by"]) == ("active", "operator")
        revoked = good(await admin.delete(f"/admin/keys/{made['key_id']}"))
        assert revoked["status"] == "revoked"
        assert reason(await shop.get(talk.path)) == UNKNOWN
    assert good(await admin.delete(f"/admin/keys/{made['key_id']}")) == revoked
    assert made["key"] not in server.log_text


async def test_it_outlives_a_restart_and_so_does_its_revocation(server: HectorServer) -> None:
    async with client(server, OPERATOR) as admin:
        lasting, gone = await make(admin, name="lasting"), await make(admin, name="gone")
        good(await admin.delete(f"/admin/keys/{gone['key_id']}"))
    assert await server.stop() == 0
    await server.start()
    async with client(server, lasting["key"]) as one, client(server, gone["key"]) as other:
        good(await one.get("/agents"))
        assert reason(await other.get("/agents")) == UNKNOWN


async def test_a_socket_is_closed_when_its_key_is_revoked(admin: httpx.AsyncClient, server: HectorServer) -> None:
    made = await make(admin, name="socket")
    async with web_socket(server.base_url, headers={"Authorization": f"Bearer {made['key']}"}) as socket:
        assert await socket.say("Hi") == "Noted."
        good(await admin.delete(f"/admin/keys/{made['key_id']}"))
        assert await socket.closed() == 1008


async def test_a_stream_that_is_open_ends_when_its_key_is_revoked(
    admin: httpx.AsyncClient, server: HectorServer
) -> None:
    made = await make(admin, name="watcher")
    async with client(server, made["key"]) as http, httpx.AsyncClient(base_url=server.base_url) as browser:
        talk = await Talk.begin(http)
        ticket = good(await http.post(f"{talk.path}/tickets"))["ticket"]
        address = f"{talk.path}/messages/stream"
        async with (
            http.stream("GET", address, timeout=10) as by_key,
            browser.stream("GET", f"{address}?ticket={ticket}", timeout=10) as by_ticket,
        ):
            good(await admin.delete(f"/admin/keys/{made['key_id']}"))
            for stream in (by_key, by_ticket):
                assert stream.status_code == 200
                with suppress(httpx.RemoteProtocolError):
                    await stream.aread()


async def test_only_keys_that_say_admin_make_keys(admin: httpx.AsyncClient, server: HectorServer) -> None:
    usual = await make(admin, name="usual")
    for key in (PLAIN, usual["key"]):
        async with client(server, key) as http:
            # The guard leaves these to their routes where a key is plain: each of them has to look itself.
            for method, path in [(method, path) for method, path, needed in _ROUTES if needed is Scope.SERVER]:
                body = {"name": "mine", "scopes": ["admin"]} if method == "POST" else None
                refused = await http.request(method, path.replace("{key_id}", usual["key_id"]), json=body)
                assert reason(refused) == (403, "missing_scope"), (method, path)
                assert refused.json()["error"]["details"] == {"scope": "admin"}
    second = await make(admin, name="deputy", scopes=["admin"])
    async with client(server, second["key"]) as deputy:
        await make(deputy, name="made-by-deputy")


async def test_a_key_for_some_agents_makes_keys_for_those_only(server: HectorServer) -> None:
    async with client(server, "key-of-half-000000") as half:
        for agents in (None, ["other"], ["nobody"], ["assistant", "other"]):
            body = {"name": "child", "agents": agents} if agents else {"name": "child"}
            assert reason(await half.post("/admin/keys", json=body)) == (422, "invalid_request")
        child = await make(half, name="child", agents=["assistant"])
    async with client(server, child["key"]) as http:
        assert [one["name"] for one in good(await http.get("/agents"))["agents"]] == ["assistant"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a b"},
        {"name": "a\nb"},
        {"name": "x" * 129},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["server"]},
        {"name": "x", "scopes": "chat"},
        {"name": "x", "agents": []},
        {"name": "x", "agents": ["nobody"]},
        {"name": "x", "expires": "soon"},
        {"name": "x", "expires": 0},
        {"name": "x", "expires": "99999999d"},
        {"name": "x", "scope": ["chat"]},
        {"name": "anonymous"},
    ],
)
async def test_what_no_key_is_made_of(admin: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert reason(await admin.post("/admin/keys", json=body)) == (422, "invalid_request")


async def test_names_that_are_taken_and_keys_that_are_not_there(admin: httpx.AsyncClient) -> None:
    await make(admin, name="taken")
    for name in ("taken", "operator"):
        assert reason(await admin.post("/admin/keys", json={"name": name})) == (409, "key_exists")
    await make(admin, name="taken", rotate=True)
    assert reason(await admin.delete("/admin/keys/key_nothing")) == (404, "key_not_found")


async def test_a_ticket_dies_with_the_key_of_its_session(admin: httpx.AsyncClient, server: HectorServer) -> None:
    made = await make(admin, name="page")
    async with client(server, made["key"]) as http, httpx.AsyncClient(base_url=server.base_url) as browser:
        talk = await Talk.begin(http)
        await talk.say("Hi")
        ticket = good(await http.post(f"{talk.path}/tickets"))["ticket"]
        address = f"{talk.path}/messages/stream?after=0&until=turn_end&ticket={ticket}"
        async with open_stream(browser, "GET", address) as stream:
            assert "Noted." in "".join([frame.data for frame in await stream.rest()])
        good(await admin.delete(f"/admin/keys/{made['key_id']}"))
        assert reason(await browser.get(address)) == UNKNOWN


async def test_a_ticket_can_no_more_than_the_key_that_asks_for_it(
    admin: httpx.AsyncClient, server: HectorServer
) -> None:
    reader = await make(admin, name="writer", scopes=["chat"])
    async with client(server, reader["key"]) as http:
        talk = await Talk.begin(http)
    both = await make(admin, name="writer", scopes=["read"], rotate=True)
    async with client(server, both["key"]) as http:
        refused = await http.post(f"{talk.path}/tickets", json={"can": ["read", "chat"]})
        assert reason(refused) == (403, "missing_scope")
        good(await http.post(f"{talk.path}/tickets", json={"can": ["read"]}))


# -- commands -------------------------------------------------------------------------------------------------------


async def test_the_commands_make_list_and_revoke(server: HectorServer, tmp_path: Path) -> None:
    hector = Hector(tmp_path, server.base_url)
    env = {"HECTOR_TOKEN": OPERATOR}
    made = await hector(
        "keys", "create", "ci", "--scopes", "chat,read", "--agents", "assistant", "--expires", "1d", env=env
    )
    assert made.code == 0, made.err
    secret = made.out.strip()
    assert secret.startswith("hk_")
    assert "shown this once" in made.err
    async with client(server, secret) as http:
        good(await http.post("/agents/assistant/messages", json={"message": "Hi"}))
    listed = await hector("keys", "list", env=env)
    assert "ci" in listed.out
    assert secret not in listed.out
    revoked = await hector("keys", "revoke", "ci", env=env)
    assert (revoked.code, revoked.out.startswith("revoked key_")) == (0, True)
    async with client(server, secret) as http:
        assert reason(await http.get("/agents")) == UNKNOWN
    again = await hector("keys", "revoke", "ci", env=env)
    assert again.code == 4
    assert "There is no key 'ci'" in again.err
    denied = await hector("keys", "list", env={"HECTOR_TOKEN": PLAIN})
    assert denied.code != 0
    assert "scope admin" in denied.err


async def test_without_a_server_the_commands_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("llms: {demo: {type: scripted}}\n")
    result = await Hector(tmp_path)("keys", "list")
    assert result.code == 3
    assert "hector serve" in result.err
    assert not (tmp_path / "data").exists()
