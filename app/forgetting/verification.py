"""Verification: what is left of the removed data, in rows and in the bytes of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from app.domain.forgetting import DeletionRequest
from app.domain.ids import GENERATED_ID
from app.domain.phrase import Phrase
from app.storage import forgettings, redaction, residue
from app.storage.connection import Connection
from app.storage.engine.database import Database

T = TypeVar("T")

MAX_IDS = 8
"""Ids of one kind that the files are searched for."""
MIN_BYTES = 12
"""Shorter ids occur in other words by chance, so files are not searched for them."""


@dataclass(slots=True)
class Affected:
    """Ids of what a deletion request removes; `family`: sessions that may hold copies of the messages."""

    session_ids: list[str] = field(default_factory=list)
    message_ids: set[str] = field(default_factory=set)
    family: list[str] = field(default_factory=list)
    memory_ids: list[str] = field(default_factory=list)


class Verification:
    """Looks for what one deletion request should have removed."""

    def __init__(self, database: Database, request: DeletionRequest, affected: Affected) -> None:
        self._database = database
        self._request = request
        self._affected = affected

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._database.read(query)

    async def count_rows(self) -> int:
        """How many rows of the database still hold removed data."""
        request, affected = self._request, self._affected
        left = partial(
            forgettings.rows_left, request=request, session_ids=affected.session_ids, memory_ids=affected.memory_ids
        )
        found = await self._read(left)
        if affected.family:
            copies = partial(redaction.find_messages, session_ids=affected.family, message_ids=affected.message_ids)
            found += len(await self._read(copies))
        if request.phrase is not None:
            phrase = Phrase(request.phrase)
            ids = await self._read(partial(forgettings.sessions_of, request=request))
            found += len(await self._read(partial(redaction.scan, session_ids=ids, phrase=phrase)))
            found += len(await self._read(partial(redaction.find_memories, request=request, phrase=phrase)))
        return found

    async def search_files(self) -> dict[str, int]:
        """How often removed data stands in each file; files without any are left out.

        Raises:
            OSError: the files could not be searched.
        """
        path = self._database.path
        if path is None:
            return {}
        here, elsewhere = self._needles()
        found_in = {}
        found = await residue.search(path, [one.encode("utf-8", "surrogatepass") for one in (*here, *elsewhere)])
        for name, counts in found.items():
            if name in (path.name, path.name + "-wal"):
                suspects = [needle for needle, count in zip(here, counts, strict=False) if count]
                # A needle that a row contains belongs to someone else's row, or is a part of another word.
                number = sum([not await self._read(partial(forgettings.stands, text=one)) for one in suspects])
            else:
                number = sum(counts[len(here) :])
            if number:
                found_in[name] = number
        return found_in

    def _needles(self) -> tuple[list[str], list[str]]:
        """What the database's own files are searched for, and what databases beside it (backups) are searched for.

        Backups only for ids that the server generated: a count of words that a caller may choose would disclose what
        other users said.
        """
        request, affected = self._request, self._affected
        ids = [*affected.session_ids[:MAX_IDS], *affected.memory_ids[:MAX_IDS]]
        here = [one for one in ids if len(one) >= MIN_BYTES]
        here += [one for one in (request.phrase, request.user_id if request.is_of_user else None) if one is not None]
        messages = sorted(affected.message_ids)[:MAX_IDS]
        return here, [one for one in (*ids, *messages) if GENERATED_ID.fullmatch(one)]
