"""Strangers: nobody without a key, nobody with another one, no page from elsewhere."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.compat.openai.conftest import client_of
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = {"alice": "key-of-alice-0123456789", "bob": "key-of-bob-9876543210"}
PAGE = "http://page.example"
SETTINGS = {"auth": {"keys": KEYS}, "server": {"shutdown_grace": "300ms", "cors_origins": [PAGE]}}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_x"),
        ("POST", "/v1/conversations"),
        ("POST", "/v1/embeddings"),
    ],
)
async def test_without_a_key_everything_is_401_in_their_shape(http: httpx.AsyncClient, method: str, path: str) -> None:
    refused = await http.request(method, path)
    error = refused.json()["error"]
    assert refused.status_code == 401
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")


async def test_a_wrong_key_is_an_authentication_error(server: HectorServer) -> None:
    async with client_of(server, "wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_what_belongs_to_another_key_is_as_if_it_were_not_there(server: HectorServer) -> None:
    async with client_of(server, KEYS["alice"]) as alice, client_of(server, KEYS["bob"]) as bob:
        response = await alice.responses.create(model="echo", input="x")
        assert response.conversation is not None
        session_id = response.conversation.id
        unknown = response.id[:-3] + "000"
        for ask in (bob.responses.retrieve, bob.responses.cancel, bob.responses.delete):
            with pytest.raises(openai.NotFoundError) as refused:
                await ask(response.id)
            with pytest.raises(openai.NotFoundError) as missing:
                await ask(unknown)
            assert refused.value.message.replace(response.id, "") == missing.value.message.replace(unknown, "")
        for ask_about in (bob.conversations.retrieve, bob.conversations.delete, bob.conversations.items.list):
            with pytest.raises(openai.NotFoundError):
                await ask_about(session_id)
        for more in ({"previous_response_id": response.id}, {"conversation": session_id}):
            with pytest.raises(openai.NotFoundError):
                await bob.responses.create(model="echo", input="y", **more)  # type: ignore[call-overload]
        with pytest.raises(openai.ConflictError):
            await bob.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "y"}], metadata={"session_id": session_id}
            )
        assert (await alice.responses.retrieve(response.id)).output_text == "x"


async def test_the_client_in_a_page_that_is_let_in_may_send_its_headers(http: httpx.AsyncClient) -> None:
    asked = "authorization,content-type,x-hector-session,x-stainless-arch,x-stainless-runtime-version"
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    assert (await http.options("/v1/chat/completions", headers=headers)).status_code == 200


async def test_pages_from_elsewhere_may_not_post(http: httpx.AsyncClient) -> None:
    headers = {"Origin": "http://evil.example", "Authorization": f"Bearer {KEYS['alice']}"}
    refused = await http.post("/v1/responses", json={"model": "echo", "input": "x"}, headers=headers)
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
