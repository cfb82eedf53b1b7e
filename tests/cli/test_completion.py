"""Completion in a shell: what the printed function offers at Tab."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.cli.command import Hector, environment

TAB = """
eval "$(hector completion bash)"
COMP_WORDS=({words})
COMP_CWORD={place}
_hector_completion hector
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `hector` is a program on the path, and the configuration has two agents."""
    program = tmp_path / "hector"
    program.write_text(f"#!{sys.executable}\nfrom app.cli.entry import main\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "config.yaml").write_text("llms: {demo: {type: scripted}}\nagents: {writer: {}, waiter: {}}\n")
    return tmp_path


async def offered(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    quoted = " ".join([f"'{word}'" for word in words])
    env = environment(folder, {"PATH": f"{folder}:{os.environ['PATH']}"})
    bash = await asyncio.create_subprocess_exec(
        *("bash", "-c", TAB.format(words=quoted, place=len(words) - 1)),
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await bash.communicate()
    return out.decode().split()


async def test_bash_completes_commands_options_and_agents(folder: Path) -> None:
    assert await offered(folder, "hector", "cha") == ["chat"]
    assert await offered(folder, "hector", "keys", "") == ["create", "list", "revoke"]
    assert "--session" in await offered(folder, "hector", "chat", "--")
    assert await offered(folder, "hector", "chat", "w") == ["writer", "waiter"]


async def test_a_configuration_that_is_wrong_offers_no_agents(folder: Path) -> None:
    (folder / "config.yaml").write_text("agents: [")
    assert await offered(folder, "hector", "chat", "w") == []


@pytest.mark.parametrize(("shell", "asks"), [("zsh", "complete_zsh"), ("fish", "complete_fish")])
async def test_other_shells_have_functions_of_their_own(tmp_path: Path, shell: str, asks: str) -> None:
    done = await Hector(tmp_path)("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_HECTOR_COMPLETE={asks}" in done.out


async def test_a_shell_that_is_not_known_is_refused(tmp_path: Path) -> None:
    assert (await Hector(tmp_path)("completion", "csh")).code == 2
