"""Watch: reports which stores have changed files, as soon as the operating system says so. Needs watchfiles.

It only triggers an update; the update itself finds out what has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec

from app.config.documents import DocumentStoreConfig
from app.documents.folders import compile_patterns, is_excluded, names_hidden

log = logging.getLogger(__name__)

MISSING = "changes are noticed at each rescan only: pip install 'hector[documents]'"
STEP_MS = 250
"""Debounce: a change is reported after so long without another; also the longest wait at shutdown."""
DEBOUNCE_MS = 2_000
"""The longest time that a change is held back while others follow."""
FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 60.0
"""Pauses before watching continues after a failure: each twice as long as the one before."""


def is_installed() -> bool:
    return find_spec("watchfiles") is not None


class Watch:
    """Watches several stores. The owner runs `run` as a task and calls `restart` when `has_moved` is true."""

    def __init__(self, stores: Mapping[str, DocumentStoreConfig], on_change: Callable[[str], None]) -> None:
        self._stores = {name: store for name, store in stores.items() if store.watch}
        self._on_change = on_change
        self._stop = asyncio.Event()
        self._places: frozenset[tuple[str, int]] | None = None
        self._told: set[str] = set()
        """Failures that were logged."""

    async def run(self) -> None:
        """Watch until cancelled. When the system cannot watch, logs it once and tries again later."""
        if not self._stores or not is_installed():
            return
        while True:
            self._stop = asyncio.Event()
            self._places = places = _places(self._stores)
            watching = [
                asyncio.ensure_future(self._follow(paths, recursive=is_folder))
                for is_folder in (True, False)
                if (paths := _watched(places, is_folder))
            ]
            stopped = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait([stopped])
            finally:
                # Not cancelled: the thread that waits for changes ends after STEP_MS, and we wait for it.
                self._stop.set()
                stopped.cancel()
                if watching:
                    await asyncio.shield(asyncio.wait(watching))

    def has_moved(self) -> bool:
        """Whether a folder was created or replaced since watching began, and so is not watched. Reads the disk."""
        return self._places is not None and self._places != _places(self._stores)

    def restart(self) -> None:
        self._stop.set()

    async def _follow(self, paths: list[str], *, recursive: bool) -> None:
        """Report changes until told to stop. A failure interrupts it: one name that is not UTF-8 is such a failure."""
        pause = FIRST_PAUSE_SECONDS
        may_have_missed = True  # what changed between the last look at the disk and the moment from which it is watched
        while not self._stop.is_set():
            try:
                await self._report(paths, recursive=recursive, may_have_missed=may_have_missed)
            except (OSError, RuntimeError, ExceptionGroup) as error:
                reason = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                if str(reason) not in self._told:
                    self._told.add(str(reason))
                    log.warning("watching documents was interrupted, until it continues rescans notice: %s", reason)
                may_have_missed = not isinstance(reason, OSError)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stop.wait()
                pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _report(self, paths: list[str], *, recursive: bool, may_have_missed: bool) -> None:
        import watchfiles

        is_first = True
        async for changes in watchfiles.awatch(
            *paths,
            recursive=recursive,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=self._stop,
            ignore_permission_denied=True,
            yield_on_timeout=may_have_missed,
            rust_timeout=1_000,
        ):
            if may_have_missed and is_first:  # it watches again from here on
                for store in self._stores:
                    self._on_change(store)
            is_first = False
            if not changes:
                continue
            changed = {path for _, path in changes}
            for store in await asyncio.to_thread(self._concerned, changed):
                self._on_change(store)

    def _concerned(self, changed: Iterable[str]) -> set[str]:
        paths = set(changed)
        return {name for name, store in self._stores.items() if any(_may_concern(path, store) for path in paths)}


def _may_concern(path: str, store: DocumentStoreConfig) -> bool:
    """Whether an update of the store might find a change. A folder or a deleted path may stand for any file."""
    for root in [os.path.realpath(root) for root in store.paths]:
        if path == root:
            return True
        if not path.startswith(root.rstrip(os.sep) + os.sep):
            continue
        inner = os.path.relpath(path, root)
        if not names_hidden(store.patterns) and any(part.startswith(".") for part in inner.split(os.sep)):
            continue
        if is_excluded(inner, store.exclude):
            continue
        if compile_patterns(store.patterns).fullmatch(inner) or not os.path.isfile(path):
            return True
    return False


def _places(stores: Mapping[str, DocumentStoreConfig]) -> frozenset[tuple[str, int]]:
    """The existing paths, each with the inode that is watched for it."""
    found = set()
    for store in stores.values():
        for path in store.paths:
            with contextlib.suppress(OSError):
                real = os.path.realpath(path)
                # A file is watched through its folder, because editors replace files instead of writing to them.
                place = os.path.dirname(real) if os.path.isfile(real) else real
                found.add((real, os.stat(place).st_ino))
    return frozenset(found)


def _watched(places: Iterable[tuple[str, int]], is_folder: bool) -> list[str]:
    paths = {path for path, _ in places if os.path.isdir(path) == is_folder}
    return sorted(paths if is_folder else {os.path.dirname(path) for path in paths})
