"""The files of a server are its user's alone, whatever the umask, and no link leads it to other files."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config.root import Config
from app.domain.errors import Unavailable
from app.runtime import Runtime
from app.storage.engine import private_files
from app.storage.engine.backup import back_up, restore
from app.storage.engine.file_lock import FileLock


@pytest.fixture(autouse=True)
def _careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def work_in(folder: Path) -> Path:
    """The database of a server that has worked in a folder, with its other files."""
    database = folder / "data" / "hector.db"
    runtime = Runtime(
        Config.model_validate({"storage": {"url": f"sqlite:///{database}"}, "embedders": {"default": {"type": "none"}}})
    )
    await runtime.open()
    back_up(database, folder / "data" / "while-it-works.db")
    assert open_to_others(folder / "data") == {}
    await runtime.close()
    return database


def open_to_others(folder: Path) -> dict[str, str]:
    """Files and folders that somebody else may read, write or enter."""
    paths = [folder, *folder.rglob("*")]
    modes = {str(path.relative_to(folder)): path.lstat().st_mode for path in paths}
    return {name: stat.filemode(mode) for name, mode in modes.items() if stat.S_IMODE(mode) & 0o077}


async def test_database_lock_and_copies_are_for_their_owner(tmp_path: Path) -> None:
    database = await work_in(tmp_path)
    back_up(database, database.with_name("copy.db"))
    restore(database.with_name("copy.db"), database)
    restore(database.with_name("copy.db"), tmp_path / "data" / "new" / "folder" / "hector.db")

    found = open_to_others(tmp_path / "data")

    assert found == {}
    assert not [path.name for path in (tmp_path / "data").rglob(".hector-*")]


async def test_what_an_older_release_left_open_is_closed_to_others(tmp_path: Path) -> None:
    database = await work_in(tmp_path)
    lock = database.with_name("hector.db.lock")
    database.chmod(0o664)
    lock.chmod(0o666)

    await work_in_again(database)

    assert stat.S_IMODE(database.stat().st_mode) == 0o660
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


async def work_in_again(database: Path) -> None:
    runtime = Runtime(Config.model_validate({"storage": {"url": f"sqlite:///{database}"}}))
    await runtime.open()
    await runtime.close()


@pytest.mark.parametrize("exists", [True, False])
async def test_a_link_at_a_name_of_ours_is_not_followed(tmp_path: Path, exists: bool) -> None:
    database = await work_in(tmp_path)
    mine, outside = tmp_path / "data", tmp_path / "outside"
    if exists:
        outside.write_text("precious")
    for name in ("copy.db", "copy.db.part", "hector.db.part"):
        (mine / name).symlink_to(outside)
    lock = mine / "hector.db.lock"
    lock.unlink()
    lock.symlink_to(outside)

    with pytest.raises(Unavailable, match=r"copy\.db exists already"):
        back_up(database, mine / "copy.db")
    with pytest.raises(Unavailable, match="restore failed"):
        restore(mine / "while-it-works.db", database)
    with pytest.raises(Unavailable, match=r"lock file .* cannot be used"):
        await FileLock(database).acquire(url="", wait_seconds=0)
    assert (outside.read_text() if outside.exists() else None) == ("precious" if exists else None)


async def test_a_lock_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hector.db.lock")

    with pytest.raises(Unavailable, match="is no regular file"):
        await FileLock(tmp_path / "hector.db").acquire(url="", wait_seconds=0)


def test_a_target_that_appears_while_the_copy_is_made_is_not_replaced(tmp_path: Path) -> None:
    fresh, target = tmp_path / "fresh", tmp_path / "target"
    fresh.write_text("new")
    target.write_text("somebody's")

    with pytest.raises(FileExistsError):
        private_files.place(fresh, target)
    assert target.read_text() == "somebody's"


def test_what_is_opened_for_a_lock_is_closed_to_others_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(0o666)
    descriptor = private_files.open_own(path)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_new_files_of_a_process_are_private() -> None:
    private_files.keep_new_files_private()

    assert os.umask(0) == 0o077
