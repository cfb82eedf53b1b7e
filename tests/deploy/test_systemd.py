"""The units of systemd and the rules of logrotate: they fit the program, and their commands do what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli.serve import CLOSE_SECONDS
from app.config.server import ServerConfig
from tests.cli.command import environment
from tests.fixtures.server import ROOT, HectorServer

UNITS = ROOT / "deploy" / "systemd"
PROGRAM = "/opt/hector/bin/hector"
SECONDS = 60


def values(unit: str, key: str) -> list[str]:
    """All values of a key, which may stand several times."""
    text = (UNITS / unit).read_text(encoding="utf-8")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """What stands for the installed program."""
    path = tmp_path / "hector"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m app "$@"\n')
    path.chmod(0o755)
    return path


def commands(unit: str, key: str, program: Path, backups: Path | None = None) -> list[list[str]]:
    """The commands of a unit as systemd would run them, on paths of the test."""
    found = []
    for value in values(unit, key):
        line = value.replace(PROGRAM, str(program)).replace("%%", "%").replace("$$", "$")
        found.append(shlex.split(line.replace("/var/lib/hector-backups", str(backups))))
    return found


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    config = {"HECTOR_CONFIG": str(folder / "config.yaml")}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, config),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_understands_every_line(tmp_path: Path, program: Path) -> None:
    for path in UNITS.iterdir():
        text = path.read_text(encoding="utf-8").replace(PROGRAM, str(program))
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    units = sorted(str(path) for path in tmp_path.iterdir() if path.name.startswith("hector-") or "." in path.name)
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("hector")]
    assert ours == []


def test_a_stop_has_more_time_than_the_server_may_take() -> None:
    [stop] = values("hector.service", "TimeoutStopSec")
    assert float(stop) >= ServerConfig().shutdown_grace.total_seconds() + CLOSE_SECONDS + 10
    assert values("hector.service", "LimitNOFILE") == ["65536"]


def test_server_and_backup_work_on_the_same_data() -> None:
    for key in ("User", "Environment", "EnvironmentFile", "WorkingDirectory"):
        assert values("hector.service", key) == values("hector-backup.service", key)
    assert values("hector-backup.timer", "Persistent") == ["true"]


async def test_a_reload_is_refused_for_a_wrong_file_and_done_for_a_good_one(tmp_path: Path, program: Path) -> None:
    settings = {"llms": {"demo": {"type": "scripted"}}, "embedders": {"default": {"type": "none"}}}
    server = HectorServer(tmp_path, settings, is_alone=True)
    await server.start()
    try:
        [reload] = commands("hector.service", "ExecReload", program)
        server.configure(settings | {"agents": {"other": {}}})
        assert run(reload, tmp_path).returncode == 0
        await server.wait_for_log("agents and models reloaded: other")
        server.config_file.write_text("agents: [")
        refused = run(reload, tmp_path)
        assert refused.returncode == 2
        assert "config.yaml:1" in refused.stderr
    finally:
        await server.close()


async def test_the_backup_is_made_beside_the_server_and_old_ones_go(tmp_path: Path, program: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    old, recent = backups / "hector-2020-01-01T0330.db", backups / "hector-2020-01-02T0330.db"
    for path, days in ((old, 20), (recent, 2)):
        path.write_text("a backup")
        os.utime(path, (time.time() - days * 86400,) * 2)
    settings = {"llms": {"demo": {"type": "scripted"}}, "storage": {"url": f"sqlite:///{tmp_path}/data/hector.db"}}
    server = HectorServer(tmp_path, settings, is_alone=True)
    await server.start()
    try:
        for command in commands("hector-backup.service", "ExecStart", program, backups):
            done = run(command, tmp_path)
            assert done.returncode == 0, done.stderr
    finally:
        await server.close()
    assert not old.exists()
    [made] = set(backups.iterdir()) - {recent}
    assert re.fullmatch(r"hector-\d{4}-\d\d-\d\dT\d{6}\.db", made.name)
    assert made.read_bytes().startswith(b"SQLite format 3")
    assert made.stat().st_mode & 0o077 == 0


def test_logrotate_is_told_of_the_files_that_the_page_names() -> None:
    rules = (ROOT / "deploy" / "logrotate" / "hector").read_text(encoding="utf-8")
    files = re.findall(r"^(/\S+) \{", rules, re.MULTILINE)
    page = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
    assert files == ["/var/log/hector/access.log", "/var/log/hector/audit.jsonl"]
    assert all(file in page for file in files)
    assert rules.count("nocreate") == len(files)  # the server makes them again, for its own user
