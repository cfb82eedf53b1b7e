"""Bodies that a provider compressed unasked: decompressed in small pieces, so that size limits hold.

aiohttp would open a whole read at once: 800 kB became 3 GB of memory.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Protocol

import aiohttp

SLICE_BYTES = 256 * 1024

_PLAIN = ("", "identity")
_KNOWN = ("gzip", "x-gzip", "deflate")
_ANY_HEADER = 32 + zlib.MAX_WBITS  # gzip or zlib, whatever the header says


class UnknownCompression(OSError):
    """A `Content-Encoding` that we do not open."""


class Readable(Protocol):
    """What is read of an `aiohttp.StreamReader`."""

    async def readany(self) -> bytes: ...

    def read_nowait(self) -> bytes: ...

    def set_exception(self, exc: None) -> None: ...


def readable(response: aiohttp.ClientResponse) -> Readable:
    """The body of a response whose session does not decompress.

    Raises:
        UnknownCompression: compressed in a way that we do not know.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    content: Readable = response.content  # type: ignore[assignment]
    if encoding in _PLAIN:
        return content
    if encoding not in _KNOWN:
        raise UnknownCompression(f"the answer is compressed ({encoding}), which was not asked for")
    return Unpacking(content)


class Unpacking:
    """A compressed body, read in pieces of at most 256 KiB. A damaged one raises `OSError`."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._opener = zlib.decompressobj(_ANY_HEADER)
        self._waiting = b""
        self._is_begun = False

    async def readany(self) -> bytes:
        """The next bytes; none at the end."""
        while True:
            if self._waiting:
                await asyncio.sleep(0)  # a small read may hold millions of bytes; others have their turn between
            else:
                self._waiting = await self._content.readany()
                if not self._waiting:
                    return b""
            if opened := self._open():
                return opened

    def read_nowait(self) -> bytes:
        if not self._waiting:
            self._waiting = self._content.read_nowait()
        return self._open() if self._waiting else b""

    def set_exception(self, exc: None) -> None:
        self._content.set_exception(exc)

    def _open(self) -> bytes:
        try:
            opened = self._opener.decompress(self._waiting, SLICE_BYTES)
        except zlib.error as exc:
            if self._is_begun:
                raise OSError(f"the compressed answer is damaged: {exc}") from exc
            self._is_begun = True
            self._opener = zlib.decompressobj(-zlib.MAX_WBITS)  # some call this deflate, too
            return self._open()
        self._is_begun = True
        self._waiting = self._opener.unconsumed_tail
        if self._opener.eof:
            self._waiting = self._opener.unused_data.lstrip(b"\0")  # another member of a gzip file, perhaps
            self._opener = zlib.decompressobj(_ANY_HEADER)
        return opened
