"""Commands: what one replica asks of another, as rows, with a NOTIFY to the replica that should look. Postgres only.

Each function is one statement, so that its rows and its NOTIFY become true together without a transaction of several
round trips. Every one may be repeated after a lost connection. The row is the truth; a lost NOTIFY costs time only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.storage.engine.notifications import channel_of

NEW = "c"
"""The payload that tells a target to look for commands."""
ANSWERED = "a "
"""The beginning of the payload that tells a sender which of its commands are answered: ids follow, between spaces."""
IDS_PER_PAYLOAD = 100
"""Postgres takes 8,000 bytes in one payload; an id has at most 40."""


@dataclass(frozen=True, slots=True)
class Command:
    """`session_id`: empty for a command that is about no session."""

    id: str
    target: str
    sender: str
    operation: str
    session_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command: exactly one of `answer` and `failure` is set."""

    id: str
    answer: bytes | None
    failure: bytes | None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The row of a command as it was when its sender deleted it."""

    id: str
    was_taken: bool
    """Whether the target may have carried it out."""
    answer: Answer | None


# The identities of `place` follow the ORDER BY. A second insert of the same id, after a connection was lost, changes
# nothing and tells the target again.
_PUT = text(
    "WITH new AS ("
    " INSERT INTO commands (id, target, sender, operation, session_id, body, created_ms)"
    " SELECT given.id, given.target, given.sender, given.operation, given.session_id, given.body, :now"
    " FROM unnest(CAST(:ids AS text[]), CAST(:targets AS text[]), CAST(:senders AS text[]),"
    " CAST(:operations AS text[]), CAST(:sessions AS text[]), CAST(:bodies AS bytea[]))"
    " WITH ORDINALITY AS given (id, target, sender, operation, session_id, body, number)"
    " JOIN replicas ON replicas.id = given.target AND replicas.lease_until > clock_timestamp()"
    " ORDER BY given.number"
    " ON CONFLICT (id) DO UPDATE SET sender = excluded.sender RETURNING id, target)"
    f" SELECT id, pg_notify({channel_of('target')}, '{NEW}') FROM new"
)
# SKIP LOCKED: a row that its sender withdraws or a session's erasure deletes is not waited for.
_TAKE = text(
    "WITH new AS ("
    " SELECT id, place, session_id, body FROM commands"
    " WHERE target = :target AND taken_ms IS NULL AND answered_ms IS NULL"
    " ORDER BY place LIMIT :limit FOR UPDATE SKIP LOCKED)"
    " UPDATE commands SET taken_ms = :now, session_id = '', body = ''::bytea FROM new WHERE commands.id = new.id"
    " RETURNING new.place, commands.id, commands.target, commands.sender, commands.operation, new.session_id, new.body"
)
_ANSWER = text(
    "WITH done AS ("
    " UPDATE commands SET answered_ms = :now, answer = given.answer, failure = given.failure"
    " FROM unnest(CAST(:ids AS text[]), CAST(:answers AS bytea[]), CAST(:failures AS bytea[]))"
    " AS given (id, answer, failure)"
    " WHERE commands.id = given.id AND commands.answered_ms IS NULL RETURNING commands.id, commands.sender)"
    f" SELECT pg_notify({channel_of('sender')}, '{ANSWERED}' || string_agg(id, ' ')) FROM done GROUP BY sender"
)
_TAKEN = text("SELECT id FROM commands WHERE target = :target AND taken_ms IS NOT NULL AND answered_ms IS NULL")
_FIND = text("SELECT id, answer, failure, answered_ms IS NOT NULL FROM commands WHERE id = ANY(CAST(:ids AS text[]))")
_DELETE = text("DELETE FROM commands WHERE id = ANY(CAST(:ids AS text[]))")
# One row a statement: one that held several could meet another that takes them in another order.
_WITHDRAW = text(
    "DELETE FROM commands WHERE id = :id RETURNING taken_ms IS NOT NULL, answered_ms IS NOT NULL, answer, failure"
)
_SWEEP = text(
    "DELETE FROM commands WHERE id IN (SELECT id FROM commands WHERE (sender = :sender AND created_ms < :before)"
    " OR NOT EXISTS (SELECT FROM replicas WHERE replicas.id = commands.sender) FOR UPDATE SKIP LOCKED)"
)
_LIVE = text("SELECT id FROM replicas WHERE lease_until > clock_timestamp()")


# -- by the sender -----------------------------------------------------------------------------------------------


def put(connection: Connection, commands: Sequence[Command], *, now: int) -> set[str]:
    """Store commands in this order and tell their targets; the ids of those whose target is alive.

    The others are not stored. A command that is given twice, because a connection was lost, is stored once.
    """
    commands = list({command.id: command for command in commands}.values())
    given = {
        "ids": [command.id for command in commands],
        "targets": [command.target for command in commands],
        "senders": [command.sender for command in commands],
        "operations": [command.operation for command in commands],
        "sessions": [command.session_id for command in commands],
        "bodies": [command.body for command in commands],
    }
    return set(connection.execute(_PUT, {**given, "now": now}).scalars())


def find(connection: Connection, ids: Collection[str]) -> dict[str, Answer | None]:
    """Those of the commands that are there, each with its answer if it has one."""
    if not ids:
        return {}
    rows = connection.execute(_FIND, {"ids": list(ids)})
    return {name: Answer(name, answer, failure) if is_answered else None for name, answer, failure, is_answered in rows}


def delete(connection: Connection, ids: Collection[str]) -> None:
    connection.execute(_DELETE, {"ids": list(ids)})


def withdraw(connection: Connection, command_id: str) -> Withdrawn | None:
    """Delete a command; what it was, if it was still there. One that was not taken will never be carried out."""
    row = connection.execute(_WITHDRAW, {"id": command_id}).first()
    if row is None:
        return None
    was_taken, is_answered, answer, failure = row
    return Withdrawn(command_id, was_taken, Answer(command_id, answer, failure) if is_answered else None)


def sweep(connection: Connection, sender: str, *, before_ms: int) -> None:
    """Delete what the sender sent before `before_ms` by its own clock, and what was sent by replicas that are gone."""
    connection.execute(_SWEEP, {"sender": sender, "before": before_ms})


def find_live_replicas(connection: Connection) -> set[str]:
    """The replicas whose lease has not run out."""
    return set(connection.execute(_LIVE).scalars())


# -- by the target -----------------------------------------------------------------------------------------------


def take(connection: Connection, target: str, *, limit: int, now: int) -> list[Command]:
    """Commands that no call of `take` has returned, oldest first.

    Their rows keep neither body nor session: erasing the session then leaves the row that the answer goes into.
    """
    rows = sorted(connection.execute(_TAKE, {"target": target, "limit": limit, "now": now}))
    return [Command(*row[1:]) for row in rows]


def find_taken(connection: Connection, target: str) -> set[str]:
    """Ids of commands that were taken and are not answered."""
    return set(connection.execute(_TAKEN, {"target": target}).scalars())


def answer(connection: Connection, answers: Sequence[Answer], *, now: int) -> None:
    """Store answers and tell the senders. Does nothing for commands that were withdrawn."""
    for start in range(0, len(answers), IDS_PER_PAYLOAD):
        some = answers[start : start + IDS_PER_PAYLOAD]
        given = {
            "ids": [one.id for one in some],
            "answers": [one.answer for one in some],
            "failures": [one.failure for one in some],
        }
        connection.execute(_ANSWER, {**given, "now": now})
