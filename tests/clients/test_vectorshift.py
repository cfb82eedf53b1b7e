"""The vectorshift package against a server: the page's script line by line, and what else its sessions can do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clients.tools import HERE, PROGRAMS, run
from tests.fixtures.server import HectorServer

SCRIPTS = HERE / "python"
STORY = "Once upon a time " * 40
FLOOD = "word " * 20_000
SCRIPT = [
    {"when": "essay", "text": STORY, "first_delay_ms": 5, "delay_ms": 10},
    {"when": "long story", "text": STORY, "delay_ms": 5},
    {"when": "flood", "text": FLOOD},
    {"when": "fail", "error": "out of order"},
    {
        "when": "^write (.*)",
        "text": "I will write.",
        "calls": [{"name": "write_file", "arguments": {"path": "a.txt", "content": "b"}}],
    },
    {"when": "^ask me", "calls": [{"name": "ask_user", "arguments": {"question": "Which colour?"}}]},
    {"text": "So be it."},
]
SETTINGS: dict[str, Any] = {
    "auth": {"keys": {"ann": "key-of-ann", "ben": "key-of-ben"}},
    "llms": {"gpt-4o": {"type": "scripted", "script": SCRIPT}},
    "embedders": {"default": {"type": "none"}},
    "tools": {"write_file": {"allowed_paths": ["./workspace"]}, "ask_user": {}},
    "agents": {
        "assistant": {},
        "careful": {"tools": ["write_file", "ask_user"], "permissions": {"ask": ["write_file"]}},
    },
    "compat": {"vectorshift": {"enabled": True}},
}
SEED = """Created agent: Terminate demo

Session connected: ...
Sent message, waiting for first delta...

Got first delta: ...
Terminating session immediately!

Session terminated. is_connected=False

Attempting to resume terminated session: ...
Resume failed (expected): SessionError: ...

Done.
"""
MASKED = (
    r"(?<=^Session connected: ).+",
    r"(?<=^Got first delta: ).+",
    r"(?<=^Attempting to resume terminated session: ).+",
    r"(?<=^Resume failed \(expected\): SessionError: ).+",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HectorServer]:
    storage = {}
    if request.param == "postgres":
        storage = {"storage": {"url": request.getfixturevalue("databases").create()}}
    started = HectorServer(tmp_path_factory.mktemp("vectorshift"), SETTINGS | storage)
    await started.start()
    yield started
    await started.close()


async def said(server: HectorServer, script: str, *arguments: str, folder: Path, key: str = "key-of-ann") -> str:
    """What a script writes on its standard output; on the other the package complains at the end of a refusal."""
    environment = {"VECTORSHIFT_API_KEY": key, "VECTORSHIFT_BASE_URL": f"{server.base_url}/v1"}
    return await run(
        PROGRAMS / "python", SCRIPTS / script, *arguments, folder=folder, environment=environment, with_errors=False
    )


async def scenario(server: HectorServer, name: str, *arguments: str, folder: Path, **key: str) -> Any:
    return json.loads(await said(server, "vectorshift_sessions.py", name, *arguments, folder=folder, **key))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("server", ["file", "postgres"], indirect=True, scope="module")
class TestOnEachDatabase:
    async def test_the_script_of_the_page_prints_what_the_page_shows(
        self, server: HectorServer, tmp_path: Path
    ) -> None:
        printed = await said(server, "vectorshift_terminate.py", folder=tmp_path)

        for masked in MASKED:
            printed, count = re.subn(masked, "...", printed, flags=re.MULTILINE)
            assert count == 1, printed
        assert printed == SEED

    async def test_turns_follow_each_other_and_a_resumed_session_remembers(
        self, server: HectorServer, tmp_path: Path
    ) -> None:
        found = await scenario(server, "conversation", folder=tmp_path)

        for turn in found["turns"]:
            assert turn["text"] == turn["complete"] == "So be it."
            assert [word for word in turn["events"] if word not in ("session_connected", "message_posted")] == [
                "Processing",
                "message_delta",
                "message_complete",
                "Idle",
            ]
        assert [one[:2] for one in found["history"]] == [
            [who, text] for word in ("one", "two", "three") for who, text in (("user", word), ("agent", "So be it."))
        ]
        assert {one[2] for one in found["history"]} == {"complete"}
        await self._is_the_same_session_everywhere(server, found["agent"], found["session_id"])

    async def _is_the_same_session_everywhere(self, server: HectorServer, agent: str, session_id: str) -> None:
        headers = {"Authorization": "Bearer key-of-ann"}
        async with httpx.AsyncClient(base_url=server.base_url, headers=headers) as client:
            listed = (await client.get("/agents")).json()["agents"]
            assert {"agent": agent, "name": "Echo"}.items() <= next(
                one for one in listed if one["agent"] == agent
            ).items()
            sessions = (await client.get(f"/agents/{agent}/sessions")).json()["sessions"]
            assert [one["session_id"] for one in sessions] == [session_id]
            spoken = await client.post(f"/agents/{agent}/sessions/{session_id}/messages", json={"message": "four"})
            assert spoken.json()["response"] == "So be it."


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("server", ["file"], indirect=True, scope="module")
class TestSessions:
    async def test_an_answer_goes_on_without_its_reader_who_gets_the_rest(
        self, server: HectorServer, tmp_path: Path
    ) -> None:
        found = await scenario(server, "resume_in_mid_answer", folder=tmp_path)

        assert STORY.startswith(found["before"]["text"])
        assert found["rest"]["text"] == found["rest"]["complete"] == STORY
        assert [one[1] for one in found["history"]] == ["tell a long story", STORY]

    async def test_approvals_are_asked_and_given(self, server: HectorServer, tmp_path: Path) -> None:
        found = await scenario(server, "approvals", folder=tmp_path)

        asked = found["yes"]["asked"]
        assert (asked["tool_name"], asked["arguments"]) == ("write_file", {"path": "a.txt", "content": "b"})
        for name, word in {"yes": "complete", "changed": "complete", "no": "error"}.items():
            assert f"tool_call write_file {word}" in found[name]["events"], found[name]
            assert found[name]["complete"].endswith("So be it."), found[name]
        assert (server.folder / "workspace" / "a.txt").read_text() == "changed"
        assert found["question"]["asked"]["question"] == "Which colour?"
        assert found["question"]["complete"] == "So be it."
        assert found["one-shot"]["session_id"].startswith("sess_")

    async def test_parts_are_one_turn_and_only_texts_are_read(self, server: HectorServer, tmp_path: Path) -> None:
        found = await scenario(server, "contents", folder=tmp_path)

        sent = [one[1] for one in found["history"] if one[0] == "user"]
        assert sent == [
            "first\n\nFile file:\nsecond\n\nFile table.csv:\na,b\n1,2\n\n\nthird",
            "look\n\nFile table.csv:\na,b\n1,2\n",
        ]
        assert [found[name]["complete"] for name in ("many", "attached")] == ["So be it."] * 2
        assert found["refused"] == [
            "The file 'chart.png' is image/png; agents of this server read text files only.",
            "The file 'unknown' is no text in UTF-8; agents of this server read text only.",
        ]

    async def test_one_shots_answer_or_say_why_not(self, server: HectorServer, tmp_path: Path) -> None:
        found = await scenario(server, "runs", folder=tmp_path)

        assert found["said"] == ["complete", "So be it."]
        assert "was terminated" in found["is gone"]
        assert found["kept"] == ["complete", "So be it."]
        assert found["done"] == ["success", {"summary": "So be it."}]
        assert found["failed"][0] == "error"
        assert "out of order" in found["failed"][1]

    async def test_agents_are_made_listed_changed_and_deleted(self, server: HectorServer, tmp_path: Path) -> None:
        found = await scenario(server, "agents", folder=tmp_path)

        assert found["fetched"] == ["Final", "gpt-4o", "Repeat.", "main"]
        assert {"Final", "assistant", "careful"} <= set(found["listed"])
        assert (found["by name"], found["deleted"]) == ("assistant", "success")
        refused = found["refused"]
        assert all(refused.values()), refused
        assert refused["deleted agent"].startswith("NotFoundError")
        assert refused["its session"].startswith("SessionError")
        assert "There is no agent 'nothing'" in refused["unknown agent"]
        assert refused["unknown model"].startswith("UnprocessableEntityError")
        assert "compat.vectorshift.default_llm" in refused["unknown model"]
        assert "models are configured on the server" in refused["own key"]
        assert "stands in the configuration" in refused["configured agent"]

    async def test_what_is_somebody_elses_is_not_there(self, server: HectorServer, tmp_path: Path) -> None:
        made = await scenario(server, "conversation", folder=tmp_path)
        ids = (made["session_id"], made["agent"])
        found = await scenario(server, "foreign", *ids, folder=tmp_path, key="key-of-ben")

        assert found["session"] == found["unknown session"].replace("sess_unknown", made["session_id"])
        assert f"There is no agent {made['agent']!r}" in found["agent"]
        assert found["fetched"].startswith("NotFoundError")
        assert found["listed"] == ["assistant", "careful"]
        with pytest.raises(AssertionError, match="AuthenticationError"):
            await scenario(server, "conversation", folder=tmp_path, key="wrong")

    async def test_a_slow_listener_loses_nothing_of_a_flood(self, server: HectorServer, tmp_path: Path) -> None:
        found = await scenario(server, "burst", folder=tmp_path)

        assert found["length"] == len(FLOOD)
        assert found["is complete"]
        assert found["deltas"] < 500
