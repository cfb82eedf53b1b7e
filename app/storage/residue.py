"""Residue: searches the files of a SQLite database for byte strings, as `grep -a` would.

A child process runs this file alone: closing a file that SQLite has open drops SQLite's locks in the whole process
(POSIX), and a search through a gigabyte would hold the interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

MAGIC = b"SQLite format 3\0"
PIECE = 8 << 20


async def search(database: Path, needles: Sequence[bytes]) -> dict[str, list[int]]:
    """How often each needle occurs in each file: the database's own, and databases beside it (backups).

    Files without any are left out.

    Raises:
        OSError: the search failed.
    """
    if not needles:
        return {}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(Path(__file__))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    wanted = {"database": str(database), "needles": [needle.hex() for needle in needles]}
    try:
        answer, _ = await process.communicate(json.dumps(wanted).encode())
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise OSError(f"the search through the files ended with code {process.returncode}")
    found: dict[str, list[int]] = json.loads(answer)
    return found


def files_of(database: Path) -> list[Path]:
    """The database, its log, the copy a restore leaves beside it, and other databases in the same folder."""
    return sorted([path for path in database.parent.iterdir() if path.is_file() and _is_ours(path, database)])


def _is_ours(path: Path, database: Path) -> bool:
    if path.name.startswith(database.name):
        return not path.name.endswith("-shm")  # page numbers only
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def count(path: Path, needles: Sequence[bytes]) -> list[int]:
    """How often each needle occurs in a file."""
    found = [0] * len(needles)
    overlap = max([len(needle) for needle in needles]) - 1
    with path.open("rb") as file:
        tail = b""
        while piece := file.read(PIECE):
            text = tail + piece
            for number, needle in enumerate(needles):
                # An occurrence that ends in the overlap was counted with the piece before.
                place = text.find(needle, max(len(tail) - len(needle) + 1, 0))
                while place >= 0:
                    found[number] += 1
                    place = text.find(needle, place + 1)
            tail = text[-overlap:] if overlap else b""
    return found


def _main() -> None:
    os.nice(10)
    wanted = json.load(sys.stdin)
    needles = [bytes.fromhex(needle) for needle in wanted["needles"]]
    counts = {path.name: count(path, needles) for path in files_of(Path(wanted["database"]))}
    json.dump({name: numbers for name, numbers in counts.items() if any(numbers)}, sys.stdout)


if __name__ == "__main__":
    _main()
