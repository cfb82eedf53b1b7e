"""The SDK is loaded by the first request at /mcp, and not before; a closed door has no address."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from app.compat.mcp_server import McpDoor
from app.config.load import ConfigError, load_config
from app.config.root import Config
from tests.docs.pages import ROOT


def test_the_door_does_not_load_the_sdk() -> None:
    code = "import app.main, sys; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


class NoRuntime:
    def __init__(self, **mcp: Any) -> None:
        self.config = Config.model_validate({"compat": {"mcp": mcp}})


@pytest.mark.parametrize(("enabled", "count"), [(True, 1), (False, 0)])
async def test_a_closed_door_has_no_address(enabled: bool, count: int) -> None:
    runtime: Any = NoRuntime(enabled=enabled)
    assert len(McpDoor(runtime).routes()) == count


@pytest.mark.parametrize(
    ("agents", "problem"),
    [
        ("[asistant]", "compat.mcp.agents[0]: there is no agent 'asistant'; did you mean 'assistant'?"),
        ("[assistant, own]", "compat.mcp.agents[1]: 'own' is private: no caller may know it"),
    ],
)
def test_agents_that_cannot_be_offered_are_refused_at_start(tmp_path: Any, agents: str, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"agents: {{assistant: {{}}, own: {{visibility: private}}}}\ncompat: {{mcp: {{agents: {agents}}}}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ={})
    assert problem in str(refused.value)
