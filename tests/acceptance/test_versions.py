"""The version of an agent: with every turn, kept by a turn that runs, and told before a reload."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.acceptance.conftest import settings_for
from tests.cli.command import Hector
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream


async def test_a_turn_keeps_the_version_it_began_with_and_a_reload_is_told_before(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        settings = settings_for(upstream)
        server = HectorServer(tmp_path, settings)
        await server.start()
        async with httpx.AsyncClient(base_url=server.base_url, timeout=20) as client:
            old = (await client.get("/agents/assistant")).json()["version"]
            upstream.answer(tokens=2, hang="after_tokens")
            talk = await Talk.begin(client)
            running = await talk.start("one")
            queued = await talk.start("two")
            await upstream.wait_for(requests=1)

            hector = Hector(tmp_path)
            assert (await hector("check", "--diff")).out == "a reload would change nothing\n"
            settings["agents"] = {"assistant": {"prompt": {"system_prompt": "New."}}, "second": {}}
            settings["sessions"] = {"max_queue": 3}
            server.configure(settings)
            told = await hector("check", "--diff", "--json")
            changes = told.json
            assert changes["agents"]["added"] == ["second"]
            changed = changes["agents"]["changed"][0]
            assert changed["before"] == old
            assert changes["needs_restart"] == ["sessions"]
            assert (await client.get("/agents/second")).status_code == 404, "nothing was reloaded"

            assert (await hector("reload")).code == 0
            await server.wait_for_log("agents and models reloaded")
            new = (await client.get("/agents/assistant")).json()["version"]
            assert new == changed["after"]
            assert (await talk.turn(running))["agent_version"] == old
            assert (await talk.turn(queued))["agent_version"] is None
            await talk.start("three")  # a message brings the agent as it is now
            await talk.cancel(turn_id=running)
            await talk.say("four")
            assert (await talk.turn(running))["agent_version"] == old
            assert (await talk.turn(queued))["agent_version"] == new

            server.config_file.write_text("agents: {assistant: {llm: nowhere}}")
            wrong = await client.get("/admin/reload")
            assert wrong.status_code == 409
            assert wrong.json()["error"]["reason"] == "invalid_config"
            assert "nowhere" in str(wrong.json()["error"]["details"]["problems"])
        await server.close()
