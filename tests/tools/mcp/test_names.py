"""Names of MCP tools."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from app.tools.mcp.names import tool_name


def test_a_fit_name_stays_as_it_is() -> None:
    assert tool_name("time", "get_current-time") == "mcp__time__get_current-time"


@given(st.text(max_size=90), st.text(max_size=90))
def test_every_name_is_fit(server: str, tool: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool_name(server, tool))


@given(st.text(max_size=9), st.text(max_size=90), st.text(max_size=90))
def test_two_tools_of_a_server_have_two_names(server: str, one: str, other: str) -> None:
    assert (tool_name(server, one) == tool_name(server, other)) == (one == other)


@given(st.text(alphabet="ab. /é", max_size=4), st.text(alphabet="ab. /é", max_size=4))
def test_names_that_look_alike_stay_different(one: str, other: str) -> None:
    assert (tool_name("s", one) == tool_name("s", other)) == (one == other)
