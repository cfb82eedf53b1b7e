"""Event: one numbered fact in the life of a session, and the closed list of kinds (the words on the wire)."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    TEXT = "text"
    THINKING = "thinking"
    TURN_QUEUED = "turn_queued"
    TURN_STARTED = "turn_started"
    TURN_FINISHED = "turn_finished"
    MEMORY = "memory"
    SUMMARY = "summary"
    DEBUG = "debug"
    SNAPSHOT = "snapshot"
    ERROR = "error"
    SESSION_ENDED = "session_ended"
    SESSION_TERMINATED = "session_terminated"
    RECONNECT = "reconnect"


SESSION_OVER = frozenset({EventKind.SESSION_ENDED, EventKind.SESSION_TERMINATED})
