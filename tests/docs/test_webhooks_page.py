"""The page about webhooks: its receiver takes what a server sends, and its table has every event."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from pathlib import Path

import httpx

from app.domain.webhook import EVENTS
from app.webhooks.payload import _FIELDS
from tests.docs.pages import ROOT, blocks
from tests.fixtures.receiver import SECRET
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "webhooks.md"


async def test_the_receiver_of_the_page_is_told_of_a_turn(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = tmp_path / "receiver.py"
    program.write_text(next(block.text for block in blocks(PAGE) if block.language == "python"))
    environment = {"PATH": os.environ["PATH"], "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    settings = {
        "llms": {"demo": {"type": "scripted", "script": [{"text": "Hello."}]}},
        "agents": {"assistant": {"llm": "demo"}},
        "webhooks": [{"url": f"http://127.0.0.1:{port}/", "secret": SECRET}],
        "webhook_delivery": {"private": ["127.0.0.1"], "first_pause": "50ms", "max_pause": "200ms"},
    }
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, str(program), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    server = HectorServer(tmp_path, settings)
    try:
        await server.start()
        async with httpx.AsyncClient(base_url=server.base_url) as client:
            created = await client.post("/agents/assistant/sessions", json={"session_id": "talk-1"})
            assert created.status_code == 201
            await client.post("/agents/assistant/sessions/talk-1/messages", json={"message": "Hi."})
        assert receiver.stdout is not None
        async with asyncio.timeout(15):
            assert await receiver.stdout.readline() == b"turn_finished talk-1 completed\n"
    finally:
        receiver.kill()
        await receiver.wait()
        await server.close()


def test_the_table_has_every_event_with_its_fields() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    told = {name: fields for names, fields in rows for name in re.findall(r"`([a-z_]+)`", names)}
    assert set(told) == set(EVENTS) == set(_FIELDS)
    for name, fields in told.items():
        assert set(re.findall(r"`([a-z_]+)`", fields)) - {"expired", "agent_version"} == set(_FIELDS[name]), name
