"""The wheel, built from the source distribution, has all that serving needs: it is run from where it was unpacked."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.fixtures.server import ROOT, HectorServer

SCRIPTED = {"llms": {"demo": {"type": "scripted"}}, "agents": {"assistant": {}}}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files of the wheel, as pip would put them beside other packages."""
    built = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(ROOT)]
    done = subprocess.run(command, cwd=built, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = built.glob("*.whl")
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_every_file_of_the_package_and_every_revision_is_in_it(unpacked: Path) -> None:
    def files(folder: Path) -> set[str]:
        found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {path.relative_to(folder).as_posix() for path in found}

    assert files(unpacked / "app" / "_migrations") == files(ROOT / "migrations")
    assert {name for name in files(unpacked / "app") if not name.startswith("_migrations/")} == files(ROOT / "app")


async def test_it_migrates_an_empty_database_and_serves(unpacked: Path, tmp_path: Path) -> None:
    server = HectorServer(tmp_path, SCRIPTED, package=unpacked)
    await server.start()
    async with httpx.AsyncClient(base_url=server.base_url) as client:
        answer = await client.post("/agents/assistant/messages", json={"message": "Hello"})
        assert answer.status_code == 200
    await server.close()
