"""The doors of front ends are open unless the configuration closes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.compat import agui, ui_message_stream
from app.config.root import Config


@pytest.mark.parametrize(
    ("compat", "expected"),
    [
        ({}, (1, 2)),
        ({"agui": {"enabled": False}}, (0, 2)),
        ({"agui": {"enabled": False}, "ai_sdk": {"enabled": False}}, (0, 0)),
    ],
)
def test_a_door_is_there_unless_its_key_closes_it(compat: dict[str, Any], expected: tuple[int, int]) -> None:
    runtime = cast(Any, SimpleNamespace(config=Config.model_validate({"compat": compat})))
    assert (len(agui.routes(runtime)), len(ui_message_stream.routes(runtime))) == expected
