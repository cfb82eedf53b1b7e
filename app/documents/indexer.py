"""Indexer: updates what is stored of a document store to match its files, one file after another, in the background.

A file whose size and modification time have not changed is not opened; one whose bytes have not changed is not parsed;
of one that changed, chunks with the same text keep their row and their vectors.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from app.config.documents import DocumentStoreConfig
from app.documents.folders import ListedFile
from app.documents.kinds import kind_of
from app.documents.reading import Frame, ReadingFailed, ReadingProcess
from app.documents.records import UNFINISHED, Records
from app.domain.ids import NewId
from app.storage.documents import NewChunk, StoredChunk, StoredFile
from app.storage.engine.database import Database

log = logging.getLogger(__name__)

_RACY_NS = 2_000_000_000
"""A file modified more recently than this when it is read may change again with the same time: it is read again."""


@dataclass(slots=True)
class Progress:
    """The progress of one store's updates. `left`: files that the present update has not compared yet.

    `failure`: why the last update was aborted; `problems`: which of its folders could not be listed.
    """

    is_working: bool = True
    left: int = 0
    checked_ms: int | None = None
    failure: str | None = None
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Round:
    """One update of a store. `gone`: stored files that are missing, unless they turn up under another name."""

    store: str
    config: DocumentStoreConfig
    gone: dict[str, StoredFile]
    reread: bool
    missing: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    has_changed: bool = False


class Indexer:
    """Updates one store at a time. `on_change` is called with a store after chunks were deleted or files moved."""

    def __init__(
        self,
        database: Database,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        on_change: Callable[[str], None],
        reading: ReadingProcess | None = None,
    ) -> None:
        self._records = Records(database)
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._on_change = on_change
        self._reading = reading or ReadingProcess()

    async def update(
        self, store: str, config: DocumentStoreConfig, progress: Progress, *, reread: bool = False
    ) -> None:
        """Update a store; with `reread` every file is read again. Files that cannot be read do not stop it.

        Raises:
            WriteFailed, Unavailable: the database did not answer; the next update continues.
            ReadingFailed: the folders could not be listed.
        """
        progress.is_working = True
        found, problems = await self._scan(config)
        stored = await self._records.files(store)
        paths = {file.path for file in found}
        gone = {path: file for path, file in stored.items() if path not in paths}
        round_ = _Round(store, config, gone, reread)
        progress.left = len(found)
        for file in found:
            known = stored.get(file.path)
            if reread or known is None or not _is_unchanged(file, known, config):
                await self._update_file(round_, file, known)
            progress.left -= 1
        for old in round_.gone.values():
            await self._delete(round_, old)
        for sentence, count in round_.missing.items():
            log.warning("document store %s: %d files are not read: %s", store, count, sentence)
        for sentence in problems:
            if sentence not in progress.problems:
                log.warning("document store %s: %s", store, sentence)
        if round_.has_changed:
            self._on_change(store)
        progress.problems = tuple(problems)
        progress.checked_ms = self._clock_ms()
        progress.is_working = False
        progress.failure = None

    async def delete(self, store: str) -> None:
        """Delete everything stored of a store."""
        round_ = _Round(store, DocumentStoreConfig.model_construct(), {}, False)
        for file in (await self._records.files(store)).values():
            await self._delete(round_, file)
        self._on_change(store)

    async def close(self) -> None:
        await self._reading.close()

    async def _scan(self, config: DocumentStoreConfig) -> tuple[list[ListedFile], list[str]]:
        roots = [str(path) for path in config.paths]
        order: Frame = {
            "do": "scan",
            "roots": roots,
            "patterns": config.patterns,
            "exclude": config.exclude,
            "max_files": config.max_files,
        }
        found: list[ListedFile] = []
        problems: list[str] = []
        async with self._reading.ask(order) as frames:
            async for frame in frames:
                found += [ListedFile(*file) for file in frame["files"]]
                problems += frame.get("problems", ())
        return found, problems

    # -- one file ---------------------------------------------------------------------------------------------

    async def _update_file(self, round_: _Round, found: ListedFile, known: StoredFile | None) -> None:
        file = StoredFile(
            file_id=known.file_id if known else self._new_id("file"),
            store=round_.store,
            path=found.path,
            size=found.size,
            mtime_ns=found.mtime_ns,
            digest="",
            fingerprint=_fingerprint(found, round_.config),
            chunks=0,
            problem=None,
            read_ms=self._clock_ms(),
        )
        missing = kind_of(found.path).missing
        try:
            if known is None:
                moved = await self._find_moved(round_, found, file)
                if moved is not None:
                    await self._records.save(moved)
                    return
                known = await self._records.add(file)
            if found.size > round_.config.max_file_size:
                problem = f"is larger than {round_.config.max_file_size} bytes (max_file_size)"
                await self._refuse(round_, file, known, problem)
            elif missing is not None:
                round_.missing[missing] += known.problem != missing
                await self._refuse(round_, file, known, missing, is_said=True)
            else:
                await self._read(round_, found, file, known)
        except ReadingFailed as error:
            await self._refuse(round_, file, known or await self._records.add(file), str(error))

    async def _read(self, round_: _Round, found: ListedFile, file: StoredFile, known: StoredFile) -> None:
        is_same = not round_.reread and known.fingerprint == file.fingerprint and bool(known.digest)
        async with self._asking(round_, found, [known.digest] if is_same else []) as frames:
            opened = await anext(frames)
            if opened.get("is_gone"):
                return  # deleted since the folder was listed: the next update deletes its chunks
            if "problem" in opened:
                await self._refuse(round_, file, known, opened["problem"], again=bool(opened.get("again")))
                return
            file = replace(file, digest=opened["digest"], size=opened["size"], mtime_ns=opened["mtime_ns"])
            if opened.get("done"):
                await self._records.save(replace(file, chunks=known.chunks, problem=known.problem))
            else:
                await self._replace_chunks(round_, file, known, frames)

    @asynccontextmanager
    async def _asking(
        self, round_: _Round, found: ListedFile, known: Sequence[str]
    ) -> AsyncIterator[AsyncIterator[Frame]]:
        """Have the child read a file. `known`: digests of contents that need not be parsed."""
        order: Frame = {
            "do": "read",
            "path": found.path,
            "root": found.root,
            "max_bytes": round_.config.max_file_size,
            "chunk_size": round_.config.chunk_size,
            "known": known,
        }
        async with self._reading.ask(order) as frames:
            yield frames

    async def _find_moved(self, round_: _Round, found: ListedFile, file: StoredFile) -> StoredFile | None:
        """The record of a missing file with the same bytes, under the new name; `None` when there is none."""
        gone = {
            one.digest: one
            for one in round_.gone.values()
            if one.digest and one.fingerprint == file.fingerprint and one.size == found.size
        }
        if not gone or round_.reread:
            return None
        async with self._asking(round_, found, list(gone)) as frames:
            opened = await anext(frames)
            if opened.get("done") != "known":
                return None
        old = gone[opened["digest"]]
        del round_.gone[old.path]
        round_.has_changed = True
        return replace(file, file_id=old.file_id, digest=old.digest, chunks=old.chunks, mtime_ns=opened["mtime_ns"])

    async def _replace_chunks(
        self, round_: _Round, file: StoredFile, known: StoredFile, frames: AsyncIterator[Frame]
    ) -> None:
        await self._records.save(replace(known, digest="", size=UNFINISHED))  # a crash may interrupt what follows
        kept: dict[str, list[StoredChunk]] = defaultdict(list)
        for chunk in await self._records.chunks_of(file):
            kept[chunk.digest].append(chunk)
        place = 0
        async for frame in frames:
            if "problem" in frame:
                await self._refuse(round_, file, known, frame["problem"])
                return
            new: list[NewChunk] = []
            moved: dict[int, tuple[int, int]] = {}
            for heading, position, text, terms, digest in frame["chunks"]:
                if kept[digest]:
                    old = kept[digest].pop(0)
                    if (old.place, old.position) != (place, position):
                        moved[old.row] = (place, position)
                else:
                    new.append(NewChunk(place, heading, position, text, terms, digest))
                place += 1
            await self._records.write_chunks(file, new, moved)
            file = replace(file, problem="; ".join(frame.get("partly", ())) or None)
        await self._delete_chunks(round_, [chunk for chunks in kept.values() for chunk in chunks])
        if file.problem is not None and file.problem != known.problem:
            self._warn(file, file.problem)
        await self._records.save(replace(file, chunks=place))

    async def _refuse(
        self,
        round_: _Round,
        file: StoredFile,
        known: StoredFile,
        problem: str,
        *,
        is_said: bool = False,
        again: bool = False,
    ) -> None:
        """Store only why a file was not read. It is tried again when it changes; with `again` at every update."""
        if not is_said and known.problem != problem:
            self._warn(file, problem)
        await self._delete_chunks(round_, await self._records.chunks_of(file))
        size = UNFINISHED if again else file.size
        await self._records.save(replace(file, digest="", chunks=0, problem=problem, size=size))

    def _warn(self, file: StoredFile, problem: str) -> None:
        log.warning("document store %s: %s %s", file.store, file.path, problem)

    async def _delete(self, round_: _Round, file: StoredFile) -> None:
        await self._delete_chunks(round_, await self._records.chunks_of(file))
        await self._records.delete(file)

    async def _delete_chunks(self, round_: _Round, chunks: Sequence[StoredChunk]) -> None:
        round_.has_changed = round_.has_changed or bool(chunks)
        await self._records.delete_chunks(chunks)


def _is_unchanged(found: ListedFile, known: StoredFile, config: DocumentStoreConfig) -> bool:
    if known.read_ms * 1_000_000 - known.mtime_ns < _RACY_NS:
        return False
    seen = (found.size, found.mtime_ns, _fingerprint(found, config))
    return seen == (known.size, known.mtime_ns, known.fingerprint)


def _fingerprint(found: ListedFile, config: DocumentStoreConfig) -> str:
    is_large = found.size > config.max_file_size
    return kind_of(found.path).fingerprint(config.chunk_size) + ("/large" if is_large else "")
