"""The group of a command: the kernel refuses tasks beyond it, and it is gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.tools.pids_group import PidsGroup

PROGRAM = r"""
import os, sys
from app.tools import pids_group
pids_group._LEAST_TASKS = pids_group._PROCESSES_TO_TASKS = 4
group = pids_group.PidsGroup(1)
if group.path is None:
    print("none")
    sys.exit()
child = os.fork()
if not child:
    group.join()
    refused = 0
    for _ in range(10):
        try:
            if not os.fork():
                os.pause() if hasattr(os, "pause") else __import__("signal").pause()
        except OSError:
            refused += 1
    os.write(1, b"refused %d\n" % refused)
    os.killpg(os.getpgid(0), 9)
os.waitpid(child, 0)
"""


def test_the_kernel_refuses_more_tasks_than_the_group_may_have() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert done.stdout in ("none\n", "refused 7\n")


def test_a_group_is_gone_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    group = PidsGroup(4)
    path = group.path
    group.close()
    assert path is None or not os.path.exists(path)


def test_without_control_groups_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tools.pids_group._own_group", lambda: None)
    group = PidsGroup(4)
    group.join()
    group.close()
    assert group.path is None
