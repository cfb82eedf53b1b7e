"""What the client is made of: it stands alone, and comes with Hector as well."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import app
import hector_client

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"
MODULES = sorted(CLIENT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    return {name.partition(".")[0] for name in names}


def test_the_client_knows_httpx_and_nothing_of_the_server() -> None:
    foreign = {str(path): imported(path) - sys.stdlib_module_names - {"hector_client", "httpx2"} for path in MODULES}

    assert {path: names for path, names in foreign.items() if names} == {}


def test_its_logic_knows_no_transport() -> None:
    knows = {path for path in MODULES if {"httpx2", "asyncio"} & imported(path)}

    assert {path.name for path in knows if path.parent.name == "hector_client"} == {"_http.py"}


def test_it_has_the_version_of_the_server_it_comes_with() -> None:
    assert hector_client.__version__ == app.__version__


def test_it_needs_what_the_server_needs_of_httpx() -> None:
    ours = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    servers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]

    assert set(ours) <= set(servers)


def build(folder: Path, target: Path) -> zipfile.ZipFile:
    """The wheel of a project, by its own build backend."""
    code = f"import hatchling.build as backend; print(backend.build_wheel({str(target)!r}))"
    built = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    return zipfile.ZipFile(target / built.stdout.splitlines()[-1])


@pytest.mark.parametrize(("folder", "packages"), [(CLIENT, {"hector_client"}), (ROOT, {"app", "hector_client"})])
def test_the_wheels_contain_it(folder: Path, packages: set[str], tmp_path: Path) -> None:
    with build(folder, tmp_path) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()

    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == packages
    assert {"hector_client/py.typed", "hector_client/sync/__init__.py"} <= set(names)
    if folder == CLIENT:
        assert re.findall("Requires-Dist: (.*)", metadata) == ["httpx2>=2.16"]
