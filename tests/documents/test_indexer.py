"""What is kept of a store agrees with its files, whatever happens to them; on both databases."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.documents import kinds
from app.documents.reading import Frame, ReadingFailed
from app.storage import tables
from app.storage.engine.database import Database
from tests.documents.conftest import LONG_AGO, Shelf
from tests.documents.samples import BROKEN, pdf, word

LONG = "\n\n".join(f"## Part {number}\nThe word{number} stands here alone." for number in range(250))


async def count(database: Database, table: str) -> int:
    query = select(func.count()).select_from(tables.metadata.tables[table])
    return await database.read(lambda connection: connection.execute(query).scalar_one())


async def test_every_format_is_found_with_its_place(shelf: Shelf) -> None:
    shelf.write("a.md", "# Tea\n\n## Green\nBrew at eighty degrees.\n")
    shelf.write("b.txt", "nothing\n\nThe parrot sleeps.")
    shelf.write("c.pdf", pdf("cover", "The whale swims."))
    shelf.write("d.docx", word())
    shelf.write("e.csv", "parrot")

    assert await shelf.look() == ["a.md", "b.txt", "c.pdf", "d.docx"]

    [tea] = await shelf.find("How hot is green tea brewed?", limit=1)
    assert (Path(tea.path).name, tea.heading, tea.unit, tea.position) == ("a.md", "Tea > Green", "line", 4)
    [parrot] = await shelf.find("parrot")
    assert (parrot.unit, parrot.position, parrot.text) == ("line", 1, "nothing\n\nThe parrot sleeps.")
    [whale] = await shelf.find("whales")
    assert (whale.unit, whale.position) == ("page", 2)
    holidays = (await shelf.find("holidays in May"))[0]
    assert (holidays.heading, holidays.unit, holidays.position) == ("Handbook > Holidays", "paragraph", 4)


async def test_a_file_that_did_not_change_is_not_opened_also_after_a_restart(shelf: Shelf) -> None:
    shelf.write("a.md", "parrot")
    await shelf.look()
    restarted = Shelf(shelf.database, shelf.folder)

    assert await shelf.look() == []
    assert await restarted.look() == []
    assert await restarted.found("parrot") == ["a.md"]


async def test_a_touched_file_is_opened_and_not_taken_apart(shelf: Shelf) -> None:
    path = shelf.write("a.md", "parrot")
    await shelf.look()
    rows = await shelf.rows("a.md")
    os.utime(path, (LONG_AGO + 5, LONG_AGO + 5))

    assert await shelf.look() == ["a.md"]
    assert await shelf.look() == []
    assert await shelf.rows("a.md") == rows
    assert shelf.changed == []


async def test_a_file_that_has_just_been_written_is_compared_once_more(shelf: Shelf) -> None:
    now = int(time.time())
    shelf.write("a.md", "parrot", at=now)
    await shelf.look()
    shelf.write("a.md", "falcon", at=now)  # the same size in the same second

    assert await shelf.look() == ["a.md"]
    assert await shelf.found("falcon") == ["a.md"]


async def test_of_a_changed_file_only_what_changed_is_stored_again(shelf: Shelf) -> None:
    shelf.write("a.md", LONG)
    await shelf.look()
    before = await shelf.rows("a.md")
    changed = LONG.replace("word7 ", "falcon ").replace("## Part 9\n", "## Part 9\n\nA line more.\n\n")
    shelf.write("a.md", "# New\n" + changed.replace("# New\n", ""), at=LONG_AGO + 9)

    await shelf.look()

    after = await shelf.rows("a.md")
    assert len(after) == len(before) == 250
    assert shelf.changed == ["shelf"]
    assert await shelf.found("falcon") == ["a.md"]
    assert await shelf.find("word7") == []


async def test_chunks_with_the_same_words_keep_their_row_and_learn_their_new_line(shelf: Shelf) -> None:
    shelf.write("a.md", LONG)
    await shelf.look()
    before = await shelf.rows("a.md")
    shelf.write("a.md", "A first line.\n\n" + LONG.replace("word7 ", "falcon "), at=LONG_AGO + 9)

    await shelf.look()

    after = await shelf.rows("a.md")
    assert len(set(before) & set(after)) == 249
    [hit] = await shelf.find("word9")
    assert hit.position == LONG.split("\n").index("The word9 stands here alone.") + 3


async def test_a_removed_file_leaves_nothing(shelf: Shelf) -> None:
    path = shelf.write("a.md", "parrot")
    shelf.write("b.md", "parrot falcon")
    await shelf.look()
    path.unlink()
    await shelf.look()

    assert await shelf.found("parrot") == ["b.md"]
    assert list(await shelf.files()) == ["b.md"]
    assert await count(shelf.database, "document_chunks") == 1
    assert shelf.changed == ["shelf"]


async def test_a_moved_file_keeps_its_rows(shelf: Shelf) -> None:
    path = shelf.write("a.md", LONG)
    await shelf.look()
    rows = await shelf.rows("a.md")
    (shelf.folder / "x").mkdir()
    path.rename(shelf.folder / "x" / "b.md")

    await shelf.look()

    assert list(await shelf.files()) == ["x/b.md"]
    assert await shelf.rows("x/b.md") == rows
    assert await shelf.found("word9") == ["b.md"]


async def test_broken_files_are_reported_once_and_stop_nothing(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    shelf.write("a.pdf", b"no pdf")
    shelf.write("b.docx", b"no docx")
    shelf.write("c.txt", b"\0\0")
    shelf.write("d.pdf", pdf("whale", BROKEN))
    shelf.write("e.md", "parrot")
    for _ in range(2):
        await shelf.look()
        await Shelf(shelf.database, shelf.folder).look()

    files = await shelf.files()
    assert {name: file.problem is None for name, file in files.items()} == {
        "a.pdf": False,
        "b.docx": False,
        "c.txt": False,
        "d.pdf": False,
        "e.md": True,
    }
    assert files["d.pdf"].chunks == 1
    said = [record.message for record in caplog.records]
    assert len(said) == 4
    assert said[0] == f"document store shelf: {shelf.folder}/a.pdf is no PDF that can be read: PdfStreamError"
    assert await shelf.found("parrot") == ["e.md"]
    assert await shelf.found("whale") == ["d.pdf"]


async def test_a_file_that_breaks_is_no_longer_found_and_one_that_is_mended_is(shelf: Shelf) -> None:
    shelf.write("a.pdf", pdf("whale"))
    await shelf.look()
    shelf.write("a.pdf", b"broken", at=LONG_AGO + 1)
    await shelf.look()
    assert await shelf.find("whale") == []
    shelf.write("a.pdf", pdf("whale again"), at=LONG_AGO + 2)
    await shelf.look()
    assert await shelf.found("whale") == ["a.pdf"]
    assert (await shelf.files())["a.pdf"].problem is None


async def test_a_reader_that_dies_or_hangs_spoils_one_file(shelf: Shelf) -> None:
    def die(order: Frame) -> None:
        if order["do"] == "read" and order["path"].endswith("b.md"):
            raise ReadingFailed("took longer than 60 s to read")

    for name in ("a.md", "b.md", "c.md"):
        shelf.write(name, "parrot")
    shelf.reading.before_each = die

    await shelf.look()

    assert sorted(await shelf.found("parrot")) == ["a.md", "c.md"]
    assert (await shelf.files())["b.md"].problem == "took longer than 60 s to read"
    assert await shelf.look() == []


async def test_a_missing_library_names_the_extra_and_other_files_go_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.write("a.pdf", pdf("whale"))
    shelf.write("b.pdf", pdf("whale"))
    shelf.write("c.md", "parrot")
    with monkeypatch.context() as patched:
        patched.setattr(kinds, "find_spec", lambda name: None)
        kinds._kind.cache_clear()
        await shelf.look()
        await shelf.look()
    kinds._kind.cache_clear()

    [said] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said == (
        "document store shelf: 2 files are not read: needs the reader of PDF files: pip install 'hector[documents]'"
    )
    assert await shelf.found("parrot") == ["c.md"]
    await shelf.look()  # installed by now
    assert sorted(await shelf.found("whale")) == ["a.pdf", "b.pdf"]


async def test_a_file_that_is_too_large_is_reported_until_it_is_allowed(shelf: Shelf) -> None:
    shelf.write("a.md", "parrot " * 20)
    shelf.config = shelf.config.model_copy(update={"max_file_size": 100})
    await shelf.look()
    assert (await shelf.files())["a.md"].problem == "is larger than 100 bytes (max_file_size)"
    shelf.config = shelf.config.model_copy(update={"max_file_size": 1000})
    await shelf.look()
    assert await shelf.found("parrot") == ["a.md"]


async def test_another_chunk_size_reads_everything_again(shelf: Shelf) -> None:
    shelf.write("a.md", "One sentence. " * 60)
    await shelf.look()
    assert len(await shelf.rows("a.md")) == 1
    shelf.config = shelf.config.model_copy(update={"chunk_size": 100})
    await shelf.look()
    assert len(await shelf.rows("a.md")) > 8


async def test_a_look_that_broke_off_is_made_up_for(shelf: Shelf) -> None:
    class Crash(Exception):
        pass

    shelf.write("a.md", LONG)
    await shelf.look()
    shelf.write("a.md", LONG.replace("alone", "together"), at=LONG_AGO + 1)
    delete_chunks = shelf.indexer._delete_chunks

    async def crash(*_: object) -> None:
        raise Crash

    shelf.indexer._delete_chunks = crash  # type: ignore[method-assign, assignment]
    with pytest.raises(Crash):
        await shelf.look()
    shelf.indexer._delete_chunks = delete_chunks  # type: ignore[method-assign]

    shelf.write("a.md", LONG, at=LONG_AGO)  # put back as it was before, its time included
    await shelf.look()

    assert await shelf.find("together") == []
    assert len(await shelf.rows("a.md")) == 250
    assert await count(shelf.database, "document_chunks") == 250


async def test_rereading_reads_everything_and_keeps_what_is_the_same(shelf: Shelf) -> None:
    shelf.write("a.md", LONG)
    await shelf.look()
    rows = await shelf.rows("a.md")

    assert await shelf.look(reread=True) == ["a.md"]
    assert await shelf.rows("a.md") == rows


async def test_what_is_forgotten_leaves_no_row(shelf: Shelf) -> None:
    shelf.write("a.md", LONG)
    await shelf.look()
    await shelf.indexer.delete("shelf")

    for table in ("document_files", "document_chunks", "document_vectors"):
        assert await count(shelf.database, table) == 0
    assert await shelf.find("word9") == []
