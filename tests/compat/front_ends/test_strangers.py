"""Who may not: a wrong key, another key, a page from elsewhere, somebody else's session, one that is terminated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.compat.front_ends.conftest import settings
from tests.compat.front_ends.wire import chat, run_input, stream_all
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import reason

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRIEND = "https://app.example"
BODIES = {
    "/agents/coder/agui": run_input("Hello", thread="mine"),
    "/agents/coder/ui": chat("Hello", session="mine"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    auth = {"keys": {"alice": "key-of-alice", "bob": "key-of-bob"}}
    made = HectorServer(
        Path(tmp_path_factory.mktemp("hector")),
        settings(auth=auth, server={"cors_origins": [FRIEND], "shutdown_grace": "300ms"}),
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(keyed: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": "Bearer key-of-alice"}
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=headers, trust_env=False) as client:
        yield client


BOB = {"Authorization": "Bearer key-of-bob"}


@pytest.mark.parametrize("path", BODIES)
async def test_no_key_and_a_wrong_key_are_refused(alice: httpx.AsyncClient, path: str) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        assert reason(await alice.post(path, json=BODIES[path], headers=headers)) == (401, "unauthenticated")
        reconnect = await alice.get("/agents/coder/ui/mine/stream", headers=headers)
        assert reason(reconnect) == (401, "unauthenticated")


@pytest.mark.parametrize("path", BODIES)
async def test_another_key_neither_reads_nor_joins_a_session(alice: httpx.AsyncClient, path: str) -> None:
    await stream_all(alice, path, BODIES[path])
    assert reason(await alice.post(path, json=BODIES[path], headers=BOB)) == (409, "session_exists")
    theirs = await alice.get("/agents/coder/ui/mine/stream", headers=BOB)
    unknown = await alice.get("/agents/coder/ui/never-made/stream", headers=BOB)
    assert (theirs.status_code, theirs.content) == (unknown.status_code, unknown.content) == (204, b"")


@pytest.mark.parametrize("path", BODIES)
async def test_a_page_from_elsewhere_is_refused_and_a_friends_is_not(alice: httpx.AsyncClient, path: str) -> None:
    foreign = await alice.post(path, json=BODIES[path], headers={"Origin": "https://evil.example"})
    assert reason(foreign) == (403, "forbidden_origin")
    friendly = await alice.post(path, json=BODIES[path], headers={"Origin": FRIEND})
    assert friendly.status_code == 200
    assert friendly.headers["access-control-allow-origin"] == FRIEND


@pytest.mark.parametrize("path", BODIES)
async def test_an_unknown_agent_and_a_private_one_are_not_found(alice: httpx.AsyncClient, path: str) -> None:
    for name in ("nobody", "reviewer"):
        refused = await alice.post(path.replace("coder", name), json=BODIES[path])
        assert reason(refused) == (404, "agent_not_found")


async def test_a_terminated_session_is_refused_for_good(alice: httpx.AsyncClient) -> None:
    await stream_all(alice, "/agents/coder/agui", run_input("Hello", thread="gone"))
    await alice.delete("/agents/coder/sessions/gone")
    for path, body in (
        ("/agents/coder/agui", run_input("Hello", thread="gone", run="r2")),
        ("/agents/coder/ui", chat("Hello", session="gone")),
    ):
        assert reason(await alice.post(path, json=body)) == (410, "session_terminated")
    assert reason(await alice.get("/agents/coder/ui/gone/stream")) == (410, "session_terminated")
    assert reason(await alice.post("/agents/coder/ui", json=chat("Hello", session="gone"), headers=BOB))[0] == 409
