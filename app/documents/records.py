"""Records: what the database keeps of a store's files and chunks, written for the indexer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from app.storage import documents
from app.storage.documents import NewChunk, StoredChunk, StoredFile
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork

UNFINISHED = -1
"""The size of a file that the next update has to read again, changed or not."""


class Records:
    """Every method raises Unavailable or WriteFailed when the database does not answer or cannot write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def files(self, store: str) -> dict[str, StoredFile]:
        """The files of a store by path."""
        return {file.path: file for file in await self._database.read(partial(documents.files, store=store))}

    async def chunks_of(self, file: StoredFile) -> Sequence[StoredChunk]:
        return await self._database.read(partial(documents.chunks_of, file_id=file.file_id))

    async def add(self, file: StoredFile) -> StoredFile:
        """Store a new file as unfinished, so that it is read again if the server crashes before `save`."""
        unit = UnitOfWork("")
        begun = replace(file, size=UNFINISHED)
        documents.add_file(unit, begun)
        await self._database.submit(unit)
        return begun

    async def save(self, file: StoredFile) -> None:
        unit = UnitOfWork("")
        documents.save_file(unit, file)
        await self._database.submit(unit)

    async def delete(self, file: StoredFile) -> None:
        """Delete a file without chunks."""
        unit = UnitOfWork("")
        documents.delete_file(unit, file.file_id)
        await self._database.submit(unit)

    async def write_chunks(
        self, file: StoredFile, new: Sequence[NewChunk], moved: Mapping[int, tuple[int, int]]
    ) -> None:
        """Store the new chunks of a file, and (place, position) of those that moved, by row."""
        unit = UnitOfWork("")
        for row, (place, position) in moved.items():
            documents.place_chunk(unit, row, place=place, position=position)
        documents.add_chunks(unit, store=file.store, file_id=file.file_id, chunks=new)
        await self._database.submit(unit)

    async def delete_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        """Delete chunks with their vectors, in units small enough that other writers get their turn."""
        rows = [chunk.row for chunk in chunks]
        for start in range(0, len(rows), documents.PART):
            unit = UnitOfWork("")
            documents.delete_chunks(unit, rows[start : start + documents.PART])
            await self._database.submit(unit)
