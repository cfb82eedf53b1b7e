"""`make demo`: what its page promises, on the models that are written in its configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.docs.pages import ROOT
from tests.examples.example import Example, served
from tests.fixtures.talk import Talk, good

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Example]:
    async with served("demo", tmp_path_factory.mktemp("demo")) as example:
        yield example


@pytest.fixture
def demo(started: Example) -> Example:
    """The demo before the first program is written."""
    shutil.rmtree(started.folder / "workspace", ignore_errors=True)
    return started


@pytest_asyncio.fixture(loop_scope="module")
async def talk(demo: Example) -> AsyncIterator[Talk]:
    async with httpx.AsyncClient(base_url=demo.server.base_url, trust_env=False, timeout=30) as client:
        yield await Talk.begin(client, agent="coder")


def transcript(frames: list[str]) -> str:
    return re.sub(r"\n+", "\n", "".join(frames))


async def test_the_coder_writes_and_runs_a_program_as_printed_in_the_docs(talk: Talk) -> None:
    frames = await talk.stream_all("Write a hello world program")

    assert transcript([frame.chunk for frame in frames]) == (
        "Let me create that file...\n"
        '[Tool: write_file("hello.py", "print(\'Hello\')")]\n'
        "File created successfully.\n"
        "Now let me test it...\n"
        '[Tool: execute_command("python3 hello.py")]\n'
        "Output: Hello\n"
        "The program works correctly!"
    )


async def test_the_reviewer_is_seen_at_work(talk: Talk) -> None:
    await talk.say("Write a hello world program")
    frames = await talk.stream_all("Ask the reviewer")

    calls = [frame.json["tool"] for frame in frames if frame.type == "tool_call"]
    assert [(call["name"], call.get("agent"), call.get("depth")) for call in calls] == [
        ("agent_call", None, None),
        ("read_file", "reviewer", 1),
    ]
    assert "no objection" in transcript([frame.chunk for frame in frames])


async def test_a_reviewer_without_a_program_says_so(talk: Talk) -> None:
    frames = await talk.stream_all("Ask the reviewer")

    assert "there is no program yet" in str([frame.json for frame in frames if frame.type == "tool_result"])


async def test_deleting_waits_for_a_yes_also_over_a_restart(talk: Talk, demo: Example) -> None:
    program = demo.folder / "workspace" / "hello.py"
    await talk.say("Write a hello world program")
    waiting = await talk.say("Delete the program")
    [call] = waiting["calls"]
    assert (waiting["status"], waiting["waiting_for"], program.exists()) == ("waiting", "approval", True)

    await demo.server.kill()
    await demo.server.start()
    good(await talk.client.post(f"{talk.path}/approvals/{call['call_id']}", json={"approved": True}))
    frames = await talk.replay(waiting["after"])

    assert "The program is gone." in transcript([frame.chunk for frame in frames])
    assert not program.exists()


async def test_a_refusal_is_told_to_the_model(talk: Talk, demo: Example) -> None:
    await talk.say("Write a hello world program")
    waiting = await talk.say("Delete the program")
    path = f"{talk.path}/approvals/{waiting['calls'][0]['call_id']}"
    good(await talk.client.post(path, json={"approved": False, "reason": "keep it"}))
    frames = await talk.replay(waiting["after"])

    assert "Then I leave it where it is." in transcript([frame.chunk for frame in frames])
    assert (demo.folder / "workspace" / "hello.py").exists()


async def test_the_lines_of_its_readme_work(demo: Example) -> None:
    out, said = await demo.ask()

    for piece in ("Output: Hello", "no objection", "The program is gone.", "That is what I thought."):
        assert piece in said
    for piece in ('"waiting_for":"approval"', '"waiting_for":"input"'):
        assert piece in out


async def test_make_prints_lines_that_the_readme_has() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "demo", "PORT=8080"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "serve --config examples/demo/config.yaml --host 127.0.0.1 --port 8080" in made.stdout
    for message in ("Write a hello world program", "Ask the reviewer", "Delete the program"):
        assert f'/agents/coder/messages/stream -d \'{{\\"message\\": \\"{message}\\"}}\'' in made.stdout
    assert "weights" not in made.stdout
