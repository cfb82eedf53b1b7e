"""The page on architecture names the rooms there are, and no file that there is not."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
APP = ROOT / "app"


def test_every_room_is_in_the_table_of_rooms() -> None:
    rooms = {path.name for path in APP.iterdir() if (path / "__init__.py").exists()}
    shown = set(re.findall(r"^\| `(\w+)(?:\.py)?` \|", PAGE, re.MULTILINE))

    assert rooms - shown == set()


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE)

    assert [name for name in named if not (APP / name).exists() and not (ROOT / name).exists()] == []
