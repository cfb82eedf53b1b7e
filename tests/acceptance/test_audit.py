"""The audit log: who did what to keys, calls and what is forgotten; a line each, and no word of what was said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPERATOR, ALICE = "key-of-operator-00", "key-of-alice-00000"
SECRET_WORDS = "purple elephants"
WRITE = {"calls": [{"name": "write_file", "arguments": {"path": "a.txt", "content": SECRET_WORDS}}]}
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "logging": {"audit": "logs/audit.jsonl"},
    "auth": {"keys": {"operator": {"key": OPERATOR, "scopes": ["admin"]}, "alice": ALICE}, "max_wrong_keys": 2},
    "llms": {"demo": {"type": "scripted", "script": [{"when": "^write", **WRITE}, "Noted."]}},
    "agents": {"assistant": {"tools": ["write_file"], "permissions": {"ask": ["write_file"]}}},
}
AGENT = "/agents/assistant"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = HectorServer(Path(tmp_path_factory.mktemp("audit")), SETTINGS)
    (started.folder / "logs").mkdir()
    await started.start()
    yield started
    await started.close()


def client(server: HectorServer, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False)


def lines(server: HectorServer, action: str | None = None) -> list[dict[str, Any]]:
    """Without their times, which all have."""
    found = [json.loads(line) for line in (server.folder / "logs" / "audit.jsonl").read_text().splitlines()]
    assert all(line.pop("time").endswith("+00:00") for line in found)
    return [line for line in found if action in (None, line["action"])]


async def test_keys_are_made_and_revoked_by_somebody(server: HectorServer) -> None:
    async with client(server, OPERATOR) as admin:
        made = good(await admin.post("/admin/keys", json={"name": "till", "scopes": ["chat"]}))
        good(await admin.delete(f"/admin/keys/{made['key_id']}"))
    about = {"principal": "operator", "key_id": made["key_id"], "name": "till"}
    made_line = {"action": "key_created", **about, "scopes": ["chat"]}
    assert [line for line in lines(server, "key_created") if line["name"] == "till"] == [made_line]
    assert lines(server, "key_revoked") == [{"action": "key_revoked", **about}]
    assert made["key"] not in (server.folder / "logs" / "audit.jsonl").read_text()


async def test_decisions_and_forgetting_have_a_name_and_no_text(server: HectorServer) -> None:
    async with client(server, ALICE) as alice:
        talk = await Talk.begin(alice, user_id="ann")
        waiting = good(await alice.post(f"{talk.path}/messages", json={"message": f"write {SECRET_WORDS}"}))
        call = waiting["calls"][0]["call_id"]
        body = {"approved": False, "reason": SECRET_WORDS}
        good(await alice.post(f"{talk.path}/approvals/{call}", json=body, headers={"X-User-Id": "ann"}))
        good(await alice.post(f"{AGENT}/forget", json={"phrase": SECRET_WORDS}))
        good(await alice.post(f"{AGENT}/forget", json={"user_id": "ann"}))
        other = await Talk.begin(alice, user_id="ben")
        good(await alice.delete(f"{other.path}?forget=all"))
    [decided] = lines(server, "call_decided")
    assert decided == {
        "action": "call_decided",
        "principal": "alice",
        "user": "ann",
        "agent": "assistant",
        "session_id": talk.session_id,
        "call_id": call,
        "tool": "write_file",
        "decision": "refused",
    }
    forgotten = {"action": "forget", "principal": "alice", "agent": "assistant"}
    assert lines(server, "forget") == [
        {**forgotten, "by_phrase": True},
        {**forgotten, "user": "ann"},
        {**forgotten, "user": "ben", "session_id": other.session_id},
    ]
    assert "elephants" not in (server.folder / "logs" / "audit.jsonl").read_text()


async def test_guesses_that_are_braked_have_an_address(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    server = HectorServer(tmp_path, SETTINGS)  # of its own: it lets nobody in for a while
    await server.start()
    try:
        for number in range(4):
            async with client(server, f"guess-{number}") as stranger:
                refused = await stranger.get("/agents")
        assert reason(refused) == (429, "rate_limited")
        assert lines(server, "logins_braked") == [{"action": "logins_braked", "address": "127.0.0.1", "wrong_keys": 3}]
    finally:
        await server.close()


async def test_a_file_that_is_moved_away_is_begun_anew(server: HectorServer) -> None:
    path = server.folder / "logs" / "audit.jsonl"
    path.rename(path.with_suffix(".1"))

    async def is_there() -> bool:
        async with client(server, OPERATOR) as admin:
            made = await admin.post("/admin/keys", json={"name": "shop", "rotate": True})
            return made.status_code == 201 and path.exists()

    await eventually(is_there)
    assert path.stat().st_mode & 0o077 == 0


async def test_a_file_that_cannot_be_written_is_said_at_start(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, {**SETTINGS, "logging": {"audit": "nowhere/audit.jsonl"}})
    assert await server.run_to_end() != 0
    assert "logging.audit" in server.log_text
