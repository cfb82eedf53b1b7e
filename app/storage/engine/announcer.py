"""NOTIFY: hints to replicas, gathered for some milliseconds and sent together, in a thread of its own.

Never in a transaction of the writer: a COMMIT with a NOTIFY waits for a lock that all of a server's databases share.
A hint says where to look and is no data: the last one of a key stands for all before it, and any may be lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from sqlalchemy import Connection, text

from app.storage.engine import dialect
from app.storage.engine.notifications import channel_of, drop, open_connection

log = logging.getLogger(__name__)

HINTS = "h "
"""The beginning of a payload of hints: `key value` follows, one a line."""
PAYLOAD_BYTES = 7_900
"""Postgres takes 7,999 bytes in one payload."""
FLUSH_SECONDS = 0.015
"""The least time between two flushes. The first hint after a pause leaves at once."""
MAX_KEPT = 50_000
"""Hints kept while the database is away; beyond, the oldest are dropped."""
RETRY_SECONDS = 0.2
_CLOSE_SECONDS = 2.0

_NOTIFY = text(
    f"SELECT pg_notify({channel_of('given.replica')}, given.payload)"
    " FROM unnest(CAST(:replicas AS text[]), CAST(:payloads AS text[])) AS given (replica, payload)"
)

Pending = dict[tuple[str, str], str]
"""By replica and key: the value."""


class Announcer:
    """Sends hints, from `start` to `close`."""

    def __init__(self, url: str) -> None:
        self._engine = dialect.make_engine(url)
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._pending: Pending = {}
        self._is_due = threading.Event()
        self._stopped = threading.Event()
        self.notified = 0
        """How many NOTIFYs were sent."""
        self._thread = threading.Thread(target=self._run, name="hector-hints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hint(self, replica_ids: Iterable[str], key: str, value: str) -> None:
        """Send `value` under `key` soon. `key` has no space, neither a line break; together 7,800 bytes at most."""
        with self._lock:
            for replica_id in replica_ids:
                self._pending[replica_id, key] = value
        self._is_due.set()

    def close(self) -> None:
        """Send what was hinted, once, then end. Blocks for at most 2 s."""
        self._stopped.set()
        self._is_due.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)
        self._engine.dispose()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._is_due.wait()
            self._is_due.clear()
            began = time.monotonic()
            if not self._flush():
                self._stopped.wait(RETRY_SECONDS)
                self._is_due.set()
            self._stopped.wait(FLUSH_SECONDS - (time.monotonic() - began))
        self._flush()
        if self._connection is not None:
            drop(self._connection)

    def _flush(self) -> bool:
        """Whether it could be sent."""
        with self._lock:
            pending, self._pending = self._pending, {}
        if not pending:
            return True
        try:
            self._notify(join_lines(pending))
        except Exception as error:
            log.debug("hints could not be sent yet", exc_info=error)
            if self._connection is not None:
                drop(self._connection)
                self._connection = None
            self._take_back(pending)
            return False
        return True

    def _notify(self, payloads: list[tuple[str, str]]) -> None:
        if self._connection is None:
            self._connection = open_connection(self._engine, "hector hints")
        replicas, lines = zip(*payloads, strict=True)
        self._connection.execute(_NOTIFY, {"replicas": list(replicas), "payloads": list(lines)})
        self.notified += len(payloads)

    def _take_back(self, pending: Pending) -> None:
        """Send these later, unless newer ones have come."""
        with self._lock:
            kept = pending | self._pending
            for oldest in list(kept)[: max(0, len(kept) - MAX_KEPT)]:
                del kept[oldest]
            self._pending = kept


def join_lines(pending: Pending) -> list[tuple[str, str]]:
    """Replicas and payloads: as many hints in each as fit."""
    payloads: list[tuple[str, str]] = []
    lines: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for (replica_id, key), value in pending.items():
        line = f"{key} {value}"
        size = len(line.encode()) + 1
        if sizes.get(replica_id, 0) + size > PAYLOAD_BYTES - len(HINTS):
            payloads.append((replica_id, HINTS + "\n".join(lines.pop(replica_id, []))))
            sizes[replica_id] = 0
        lines.setdefault(replica_id, []).append(line)
        sizes[replica_id] = sizes.get(replica_id, 0) + size
    return payloads + [(replica_id, HINTS + "\n".join(found)) for replica_id, found in lines.items()]


def split_lines(payload: str) -> list[tuple[str, str]]:
    """The keys and values of a payload of hints."""
    found = []
    for line in payload.removeprefix(HINTS).split("\n"):
        key, _, value = line.partition(" ")
        found.append((key, value))
    return found
