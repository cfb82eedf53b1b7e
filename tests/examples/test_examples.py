"""Each example does what its README says, on a model that a test speaks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.config.load import load_config
from tests.examples.example import EXAMPLES, NAMES, serve_line, served
from tests.fixtures.upstream import Upstream


@pytest.mark.parametrize("name", NAMES)
def test_an_example_loads_without_a_warning_and_its_readme_serves_it(name: str) -> None:
    path = EXAMPLES / name / "config.yaml"

    assert load_config(path, environ={"OPENAI_API_KEY": "no-key-at-all-here"}).warnings == ()
    assert serve_line(name).strip() in ("make demo", f".venv/bin/hector serve --config examples/{name}/config.yaml")
    assert f"[{name}]({name}/README.md)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


async def test_the_coder_writes_a_program_and_runs_it(tmp_path: Path) -> None:
    async with Upstream() as upstream, served("coder", tmp_path, upstream) as example:
        upstream.answer(tokens=["I write it."], calls=[("write_file", {"path": "primes.py", "content": "print(2, 3)"})])
        upstream.answer(tokens=["I run it."], calls=[("execute_command", {"command": "python3 primes.py"})])
        upstream.answer(tokens=["It works."])
        _, said = await example.ask()

    assert (example.folder / "workspace" / "primes.py").read_text(encoding="utf-8") == "print(2, 3)"
    for piece in ("I write it.", '[Tool: write_file("primes.py"', "Output: 2 3", "It works."):
        assert piece in said


async def test_the_support_agent_pays_when_a_person_agrees(tmp_path: Path) -> None:
    async with Upstream() as upstream, served("support", tmp_path, upstream) as example:
        upstream.answer(tokens=["Let me see."], calls=[("find_order", {"number": "A-17"})])
        upstream.answer(tokens=["I pay it back."], calls=[("pay", {"order": "A-17", "amount": 39.0})])
        upstream.answer(tokens=["You get 39 euros."])
        out, said = await example.ask()
        offered = {tool["function"]["name"]: tool["function"] for tool in upstream.requests[0].json["tools"]}

    [payment] = (example.folder / "data" / "payments.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(payment)["amount"] == 39.0
    assert '"waiting_for":"approval"' in out
    assert "You get 39 euros." in said
    assert offered["pay"]["description"] == "Pay money back to a customer."
    assert list(offered["pay"]["parameters"]["properties"]) == ["order", "amount"]


async def test_the_editor_has_a_report_researched_and_written(tmp_path: Path) -> None:
    report = {"path": "report.md", "content": "The first lens was lit in 1823."}
    async with Upstream() as upstream, served("research", tmp_path, upstream) as example:
        upstream.answer(tokens=["First the facts."], calls=[("agent_call", {"agent": "reader", "message": "When?"})])
        upstream.answer(tokens=[], calls=[("search", {"query": "first lens of Fresnel"})])
        upstream.answer(tokens=["1823, says the library."])
        upstream.answer(tokens=["Now the text."], calls=[("agent_call", {"agent": "writer", "message": "Write: 1823"})])
        upstream.answer(tokens=[], calls=[("write_file", report)])
        upstream.answer(tokens=["It is written."])
        upstream.answer(tokens=["Read report.md."])
        out, said = await example.ask()
        found = next(message for message in upstream.requests[2].json["messages"] if message["role"] == "tool")

    assert "Augustin Fresnel" in found["content"]
    assert (example.folder / "workspace" / "report.md").read_text(encoding="utf-8") == report["content"]
    assert '"agent":"reader","depth":1' in out
    assert "Read report.md." in said


async def test_the_clerk_uses_a_tool_of_the_mcp_server(tmp_path: Path) -> None:
    async with Upstream() as upstream, served("mcp", tmp_path, upstream) as example:
        await example.server.wait_for_log("MCP server shop is connected: 2 tools")
        upstream.answer(tokens=["Let me look."], calls=[("mcp__shop__opening_hours", {"day": "Saturday"})])
        upstream.answer(tokens=["From ten to two."])
        _, said = await example.ask()

    assert "10 to 14" in said
    assert "From ten to two." in said
