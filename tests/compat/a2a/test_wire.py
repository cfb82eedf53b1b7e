"""What the wire has beside tasks: cards, version 0.3, refusals, strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory

from tests.compat.a2a.conftest import KEYS, request, text_of
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
VERSION_1 = {"A2A-Version": "1.0"}
MESSAGE = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "Hi."}]}


@pytest_asyncio.fixture(loop_scope="session")
async def http(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEYS['alice']}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False) as client:
        yield client


def call(method: str, params: object = None, **fields: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params or {}, **fields}


async def test_a_card_is_open_and_has_absolute_addresses(server: HectorServer) -> None:
    await server.wait_for_grpc()  # which the card names from then on
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        answer = await client.get("/agents/greeter/.well-known/agent-card.json")
        card = answer.json()
        assert card["name"] == "Greeter"
        url = f"{server.base_url}/agents/greeter/a2a"
        assert [one["url"] for one in card["supportedInterfaces"]][:2] == [url, f"{url}/rest"]
        assert card["url"] == url  # for clients of 0.3
        assert card["securityRequirements"]
        again = await client.get(
            "/agents/greeter/.well-known/agent-card.json", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert again.status_code == 304
        assert "max-age" in answer.headers["cache-control"]
        assert answer.headers["last-modified"]
        for address in ("/agents/hidden", "/agents/nobody", ""):
            assert (await client.get(f"{address}/.well-known/agent-card.json")).status_code == 404
        for address in ("/agents/greeter/a2a/rest", "/agents/greeter/sessions", "/v1"):
            assert (await client.get(f"{address}/.well-known/agent-card.json")).status_code == 401


async def test_strangers_are_kept_out(http: httpx.AsyncClient) -> None:
    for address in ("/agents/greeter/a2a", "/agents/greeter/a2a/rest/message:send"):
        wrong = await http.post(address, json=call("ListTasks"), headers={**VERSION_1, "Authorization": "Bearer no"})
        assert (wrong.status_code, wrong.json()["error"]["reason"]) == (401, "unauthenticated")
        page = await http.post(address, json=call("ListTasks"), headers={**VERSION_1, "Origin": "https://evil.example"})
        assert (page.status_code, page.json()["error"]["reason"]) == (403, "forbidden_origin")
        unknown = await http.post(address.replace("greeter", "nobody"), json=call("ListTasks"), headers=VERSION_1)
        assert (unknown.status_code, unknown.json()["error"]["reason"]) == (404, "agent_not_found")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_version_0_3_is_spoken_at_the_same_address(http: httpx.AsyncClient, slash: str) -> None:
    message = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "Hi."}]}
    sent = (await http.post(f"/agents/greeter/a2a{slash}", json=call("message/send", {"message": message}))).json()
    assert sent["result"]["status"]["state"] == "completed"
    assert sent["result"]["artifacts"][0]["parts"][0]["text"] == "Good morning, and hello."
    stream = await http.post(f"/agents/greeter/a2a{slash}", json=call("message/stream", {"message": message}))
    events = [orjson.loads(line[6:])["result"] for line in stream.text.splitlines() if line.startswith("data: ")]
    text = "".join([event["artifact"]["parts"][0]["text"] for event in events if event["kind"] == "artifact-update"])
    assert text == "Good morning, and hello."
    assert events[-1]["final"]


async def test_a_client_of_0_3_is_made_from_the_card(server: HectorServer) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEYS['alice']}"}, trust_env=False) as client:
        card = await A2ACardResolver(client, f"{server.base_url}/agents/greeter").get_agent_card()
        old = [one for one in card.supported_interfaces if one.protocol_version == "0.3"]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(old)
        made = ClientFactory(ClientConfig(httpx_client=client)).create(card)
        events = [event async for event in made.send_message(request("Hi."))]
        assert text_of(events) == "Good morning, and hello."
