"""Folders with documents, and what keeps a store of them: with a child process, or its code in this one."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.config.documents import DocumentStoreConfig
from app.documents.child import answer
from app.documents.indexer import Indexer, Progress
from app.documents.reading import Frame, ReadingProcess
from app.documents.search import Passage, Search
from app.search.embedder import Embedder
from app.storage import documents
from app.storage.documents import StoredFile
from app.storage.engine.database import Database
from tests.fixtures.clock import Ids
from tests.fixtures.sqlite import migrated_url

LONG_AGO = 1_600_000_000


class ReadingHere(ReadingProcess):
    """The child's own code on the calling thread. `asked`: the files it was asked to open."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.before_each: Callable[[Frame], None] = lambda order: None

    @asynccontextmanager
    async def ask(self, order: Frame) -> AsyncIterator[AsyncIterator[Frame]]:
        if order["do"] == "read":
            self.asked.append(Path(order["path"]).name)
        self.before_each(order)

        async def frames() -> AsyncIterator[Frame]:
            for frame in answer(order):
                yield frame

        yield frames()


class Shelf:
    """One store over a folder, without its background tasks: `look` is one look at the files."""

    def __init__(self, database: Database, folder: Path, *, embedder: Embedder | None = None, **settings: Any) -> None:
        self.database = database
        self.folder = folder
        self.config = DocumentStoreConfig.model_validate({"paths": [folder], **settings})
        self.reading = ReadingHere()
        self.changed: list[str] = []
        self.finder = Search(database, embedder)
        self.indexer = Indexer(
            database, new_id=Ids(), clock_ms=lambda: time.time_ns() // 1_000_000, on_change=self._dropped
        )
        self.indexer._reading = self.reading
        self.progress = Progress()

    def _dropped(self, store: str) -> None:
        self.changed.append(store)
        self.finder.drop(store)

    def write(self, name: str, content: str | bytes, *, at: int = LONG_AGO) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (at, at))
        return path

    async def look(self, *, reread: bool = False) -> list[str]:
        """The files that were opened for it."""
        self.reading.asked.clear()
        await self.indexer.update("shelf", self.config, self.progress, reread=reread)
        return list(self.reading.asked)

    async def files(self) -> dict[str, StoredFile]:
        found = await self.database.read(lambda connection: documents.files(connection, "shelf"))
        return {os.path.relpath(file.path, self.folder): file for file in found}

    async def rows(self, name: str) -> list[int]:
        file = (await self.files())[name]
        chunks = await self.database.read(lambda connection: documents.chunks_of(connection, file.file_id))
        return [chunk.row for chunk in chunks]

    async def find(self, question: str, *, limit: int = 10) -> list[Passage]:
        return list((await self.finder.search(question, ["shelf"], limit=limit)).hits)

    async def found(self, question: str) -> list[str]:
        """The names of the files that a question finds, best first, each once."""
        return list(dict.fromkeys([Path(hit.path).name for hit in await self.find(question)]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    return folder


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(migrated_url(tmp_path))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def shelf(database: Database, folder: Path) -> Shelf:
    return Shelf(database, folder)
