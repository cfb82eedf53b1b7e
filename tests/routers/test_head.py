"""HEAD: wherever GET answers, the same answer without its body."""

from __future__ import annotations

import httpx
import pytest

from app.main import create_app
from app.runtime import Runtime
from tests.routers.conftest import client_of, say

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_head_is_get_without_a_body(runtime: Runtime, alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "Hello")
    names = {"agent": "assistant", "session_id": session_id, "memory_id": "m", "turn_id": "t", "store": "s"}
    names |= {"call_id": "c", "result_id": "r"}
    paths = [path for path, methods in create_app(runtime).openapi()["paths"].items() if "get" in methods]
    for path in [*paths, "/", "/openapi.json", "/page/app.js"]:
        url = path.format_map(names)
        if url.endswith("/stream"):
            url += "?after=0&until=turn_end"
        head, get = await alice.head(url), await alice.get(url)
        assert head.content == b"", path
        assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"]), path
        if path not in ("/metrics", "/ready") and not path.endswith("/stream") and get.is_success:
            assert head.headers.get("content-length") == get.headers.get("content-length"), path


async def test_it_needs_a_key_where_get_does(runtime: Runtime) -> None:
    async with client_of(runtime, "nobody") as stranger:
        assert (await stranger.head("/agents")).status_code == 401
        assert (await stranger.head("/health")).status_code == 200


async def test_what_takes_no_get_takes_no_head(alice: httpx.AsyncClient) -> None:
    refused = await alice.head("/agents/assistant/forget")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert (await alice.delete("/health")).headers["allow"] == "GET, HEAD"
