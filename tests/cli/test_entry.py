"""What happens before a command is loaded: signals and arguments that are no text."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import __version__
from app.cli import entry
from app.cli.main import app
from app.config.load import load_config
from tests.cli.command import ROOT, environment
from tests.fixtures.eventually import eventually

_SIGTERM = 1 << (signal.SIGTERM - 1)


async def start(folder: Path, *arguments: str | bytes) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        cwd=folder,
        env=environment(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def catches_sigterm(process: asyncio.subprocess.Process) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & _SIGTERM)


async def test_a_stop_while_the_server_is_being_loaded_ends_it_at_once(tmp_path: Path) -> None:
    process = await start(tmp_path, "serve", "--port", "0")

    async def has_begun() -> bool:
        return catches_sigterm(process)

    await eventually(has_begun)
    process.send_signal(signal.SIGTERM)
    _, err = await process.communicate()

    assert process.returncode == 143
    assert b"ready at" not in err


def test_nothing_heavy_is_loaded_before_signals_are_caught() -> None:
    source = Path(entry.__file__).read_text(encoding="utf-8")
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]

    assert imports == [
        "from __future__ import annotations",
        "import gc",
        "import os",
        "import signal",
        "import sys",
        "from types import FrameType",
    ]
    assert source.index("signal.signal(signal.SIGTERM") < source.index("from app.cli.main")
    assert (ROOT / "app" / "cli" / "__init__.py").read_text(encoding="utf-8").count("import") == 0


async def test_an_argument_that_is_no_text_is_told_in_a_line(tmp_path: Path) -> None:
    process = await start(tmp_path, "call", "assistant", b"caf\xe9")
    out, err = await process.communicate()

    assert (process.returncode, out, err) == (2, b"", b"hector: argument 3 is not UTF-8 text\n")


@pytest.mark.parametrize(("given", "taken"), [("--stream=false", "--no-stream"), ("--stream=true", "--stream")])
def test_a_flag_may_be_switched_by_a_value(given: str, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hector", "call", given, "x"])
    monkeypatch.setattr("app.cli.main.main", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        entry.main()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert sys.argv[1:] == ["call", taken, "x"]


def test_the_version_is_a_command_too() -> None:
    result = CliRunner().invoke(app, ["version"])

    assert (result.exit_code, result.output) == (0, f"hector {__version__}\n")


@pytest.mark.parametrize(
    ("flags", "level", "form"),
    [(["--debug"], "debug", None), (["--log-level", "WARN", "--log-format", "json"], "warning", "json")],
)
def test_flags_before_the_command_set_the_log(
    flags: list[str], level: str, form: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEVEL", "FORMAT"):
        monkeypatch.setenv(f"HECTOR_LOGGING__{name}", "")  # so that it is put back

    CliRunner().invoke(app, [*flags, "version"])

    logging = load_config(None, environ=os.environ, cwd=tmp_path).config.logging
    assert (logging.level, logging.format) == (level, form or "text")
