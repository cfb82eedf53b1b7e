"""The doors of front ends are closed unless the configuration opens them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.compat import agui, ui_message_stream
from app.config.root import Config


@pytest.mark.parametrize(("compat", "expected"), [({}, (0, 0)), ({"agui": {"enabled": True}}, (1, 0))])
def test_a_door_is_there_when_its_key_says_so(compat: dict[str, Any], expected: tuple[int, int]) -> None:
    runtime = cast(Any, SimpleNamespace(config=Config.model_validate({"compat": compat})))
    assert (len(agui.routes(runtime)), len(ui_message_stream.routes(runtime))) == expected
