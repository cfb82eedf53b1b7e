"""The Python code of the proto file is what protoc makes of it today."""

from __future__ import annotations

from pathlib import Path

from tests.rpc.generate import NAMES, ROOM, generate


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    generate(tmp_path)

    for name in NAMES:
        assert (ROOM / "generated" / name).read_text() == (tmp_path / name).read_text(), "run make proto"
