"""The SDK is loaded when a server is configured, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.tools.mcp import McpServer


def test_without_a_server_the_sdk_is_not_loaded() -> None:
    make = "import app.tools.mcp, app.runtime, sys; app.tools.mcp.McpServer('a', command='b')"
    code = f"{make}; assert 'mcp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)


@pytest.mark.parametrize("settings", [{}, {"command": "a", "url": "http://b"}])
def test_a_server_needs_a_command_or_an_address(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="MCP server 'a' needs either `command` or `url`"):
        McpServer("a", **settings)  # type: ignore[arg-type]
