"""The child process: started when needed, ended when it is stuck, not trusted with anything."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.documents.reading import Frame, ReadingFailed, ReadingProcess
from tests.documents.samples import pdf, word
from tests.fixtures.house import until


@pytest.fixture
async def reading() -> AsyncIterator[ReadingProcess]:
    made = ReadingProcess()
    yield made
    await made.close()


async def read(reading: ReadingProcess, path: Path, *, root: Path | None = None, known: str = "") -> list[Frame]:
    order: Frame = {"do": "read", "path": str(path), "root": str(root or path.parent)}
    async with reading.ask({**order, "max_bytes": 1 << 20, "chunk_size": 100, "known": [known]}) as frames:
        return [frame async for frame in frames]


def pid_of(reading: ReadingProcess) -> int:
    assert reading._process is not None
    return reading._process.pid


async def test_one_process_reads_several_files_in_batches(reading: ReadingProcess, folder: Path) -> None:
    (folder / "a.txt").write_text("\n\n".join(f"paragraph {number} " + "x" * 80 for number in range(250)))
    (folder / "b.pdf").write_bytes(pdf("whale"))
    (folder / "c.docx").write_bytes(word())

    frames = await read(reading, folder / "a.txt")
    first = pid_of(reading)

    assert [len(frame.get("chunks", ())) for frame in frames] == [0, 100, 100, 50]
    assert (await read(reading, folder / "b.pdf"))[1]["chunks"][0][2] == "whale"
    assert len((await read(reading, folder / "c.docx"))[1]["chunks"]) == 3
    assert pid_of(reading) == first


async def test_known_bytes_are_not_taken_apart(reading: ReadingProcess, folder: Path) -> None:
    (folder / "a.md").write_text("parrot")
    digest = (await read(reading, folder / "a.md"))[0]["digest"]

    [frame] = await read(reading, folder / "a.md", known=digest)

    assert frame["done"] == "known"


async def test_what_became_a_link_since_it_was_listed_is_not_read(reading: ReadingProcess, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("secret")
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "a.md").symlink_to(secret)
    (root / "sub").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.md")

    for path in (root / "a.md", root / "sub" / "secret.md", root / "pipe.md", root / "real"):
        [frame] = await read(reading, path, root=root)
        assert "problem" in frame
    [frame] = await read(reading, root / "gone.md", root=root)
    assert frame["is_gone"]


async def test_a_stuck_process_is_killed_and_the_next_file_has_another(folder: Path) -> None:
    reading = ReadingProcess(frame_seconds=0.3)
    (folder / "a.md").write_text("parrot")
    reading._frame_seconds = 10
    await read(reading, folder / "a.md")
    stuck = pid_of(reading)
    reading._frame_seconds = 0.1
    os.kill(stuck, signal.SIGSTOP)
    with pytest.raises(ReadingFailed, match="took longer"):
        await read(reading, folder / "a.md")
    reading._frame_seconds = 10

    assert "done" in (await read(reading, folder / "a.md"))[-1]
    assert pid_of(reading) != stuck
    with pytest.raises(ProcessLookupError):
        os.kill(stuck, 0)
    await reading.close()


async def test_a_process_that_died_is_replaced(reading: ReadingProcess, folder: Path) -> None:
    (folder / "a.md").write_text("parrot")
    await read(reading, folder / "a.md")
    os.kill(pid_of(reading), signal.SIGKILL)
    await until(lambda: not reading.is_running)

    assert "done" in (await read(reading, folder / "a.md"))[-1]


async def test_leaving_in_the_middle_ends_it(reading: ReadingProcess, folder: Path) -> None:
    (folder / "a.txt").write_text("\n\n".join("x" * 90 for _ in range(500)))
    order: Frame = {"do": "read", "path": str(folder / "a.txt"), "root": str(folder)}
    async with reading.ask({**order, "max_bytes": 1 << 20, "chunk_size": 100, "known": []}) as frames:
        await anext(frames)

    assert not reading.is_running
    assert "done" in (await read(reading, folder / "a.txt"))[-1]


async def test_it_ends_when_it_is_idle_and_when_its_parent_does_not_ask_any_more(folder: Path) -> None:
    reading = ReadingProcess(idle_seconds=0.05)
    (folder / "a.md").write_text("parrot")
    await read(reading, folder / "a.md")
    assert reading.is_running
    await until(lambda: not reading.is_running)

    assert "done" in (await read(reading, folder / "a.md"))[-1]
    await reading.close()
    assert not reading.is_running


async def test_it_is_told_no_secrets_and_is_the_last_to_be_served(
    reading: ReadingProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    (folder / "a.md").write_text("parrot")
    await read(reading, folder / "a.md")
    process = Path(f"/proc/{pid_of(reading)}")

    assert b"sk-secret" not in (process / "environ").read_bytes()
    assert os.getpriority(os.PRIO_PROCESS, pid_of(reading)) >= os.getpriority(os.PRIO_PROCESS, 0) + 5
    assert "2147483648" in (process / "limits").read_text()


async def test_it_can_be_cancelled(reading: ReadingProcess, folder: Path) -> None:
    (folder / "a.md").write_text("parrot")
    asking = asyncio.create_task(read(reading, folder / "a.md"))
    await asyncio.sleep(0)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not reading.is_running
