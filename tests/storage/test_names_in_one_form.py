"""Names that older releases stored as they were written: users find their data by the name in its one form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from app.domain.memory import Owner, Scope
from app.memory.scope import audience_of, session_audience
from app.storage import full_text
from app.storage.engine import migrate
from app.storage.engine.database import Database

NORMAL = "Jürgen"
OLD = {
    "composed": NORMAL,
    "decomposed": "Ju\u0308rgen",
    "utf-8 read as latin-1": NORMAL.encode().decode("latin-1"),
    "both": "Ju\u0308rgen".encode().decode("latin-1"),
}
OTHERS = ["ann", "Ülkü", "\xc3", "Łukasz", "李小龙"]


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = Database(url).engine
    migrate.upgrade(engine, to="0008")
    yield engine
    engine.dispose()


def insert(engine: Engine, table: str, **values: Any) -> None:
    columns = {"session_id": "s", "agent": "assistant", "principal": "alice", **values}
    names = ", ".join(columns)
    places = ", ".join([f":{name}" for name in columns])
    with engine.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({places})"), columns)


def store_session(engine: Engine, session_id: str, **owner: str) -> None:
    times = dict.fromkeys(("created_ms", "active_ms"), 1)
    numbers = ("last_seq", "reserved_seq", "floor_seq", "message_count", "prompt_tokens", "completion_tokens")
    zeros = dict.fromkeys(numbers, 0)
    insert(engine, "sessions", session_id=session_id, status="active", metadata="{}", **times, **zeros, **owner)


def store_memory(engine: Engine, name: str, user_id: str, audience: str, *, session_id: str = "s") -> None:
    owner = {"user_id": user_id, "speaker": user_id, "audience": audience, "session_id": session_id}
    rest = {"kind": "note", "place": 0, "role": "user", "text": "A parrot", "terms": "parrot"}
    insert(engine, "memories", memory_id=name, created_ms=1, version=1, pinned=0, **owner, **rest)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO memory_vectors (row, model, audience, vector)"
                " SELECT row, 'm', audience, :vector FROM memories WHERE memory_id = :name"
            ),
            {"name": name, "vector": b"v"},
        )


def of_user(user_id: str) -> str:
    return audience_of(Owner("assistant", "alice", user_id, "s"), Scope.CONVERSATIONAL)


def column(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return sorted(connection.execute(sa.text(query)).scalars())


def found(engine: Engine, audience: str) -> int:
    """How many memories the full text has for an audience."""
    with engine.connect() as connection:
        return len(full_text.rows(connection, [audience], ["parrot"], 100)["parrot"])


def test_sessions_of_every_form_of_a_name_are_of_one_user(engine: Engine) -> None:
    for number, name in enumerate([*OLD.values(), *OTHERS]):
        store_session(engine, f"s{number}", user_id=name)
    migrate.upgrade(engine)
    assert column(engine, "SELECT user_id FROM sessions") == sorted([NORMAL] * len(OLD) + OTHERS)


def test_keys_have_one_form_too_and_are_not_read_otherwise(engine: Engine) -> None:
    store_session(engine, "s1", principal="Ju\u0308rgen", user_id="Ju\u0308rgen")
    store_session(engine, "s2", principal=OLD["utf-8 read as latin-1"], user_id="ann")
    migrate.upgrade(engine)
    assert column(engine, "SELECT principal FROM sessions") == sorted([NORMAL, OLD["utf-8 read as latin-1"]])


def test_what_was_used_under_several_forms_is_added_up(engine: Engine) -> None:
    for number, name in enumerate(OLD.values(), 1):
        with engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO usage VALUES ('alice', :name, 'assistant', 'm', 7, 1, :number, 10)"),
                {"name": name, "number": number},
            )
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT * FROM usage")).all() == [
            ("alice", NORMAL, "assistant", "m", 7, 4, 1 + 2 + 3 + 4, 40)
        ]


def test_memories_of_every_form_are_found_by_words_and_meaning(engine: Engine) -> None:
    for number, name in enumerate([*OLD.values(), "ann"]):
        store_memory(engine, f"memory{number}", name, of_user(name))
    store_memory(engine, "of a session", OLD["decomposed"], session_audience("s9"), session_id="s9")
    migrate.upgrade(engine)
    assert column(engine, "SELECT user_id FROM memories") == [NORMAL] * 5 + ["ann"]
    assert column(engine, "SELECT speaker FROM memories") == [NORMAL] * 5 + ["ann"]
    assert (found(engine, of_user(NORMAL)), found(engine, of_user("ann")), found(engine, session_audience("s9"))) == (
        len(OLD),
        1,
        1,
    )
    assert [found(engine, of_user(name)) for name in OLD.values() if name != NORMAL] == [0, 0, 0]
    vectors = column(engine, "SELECT audience FROM memory_vectors")
    assert vectors == column(engine, "SELECT audience FROM memories")


def test_a_request_to_forget_that_waits_names_the_user_in_the_new_form(engine: Engine) -> None:
    insert(engine, "forgettings", wish_id="w1", created_ms=1, user_id=OLD["both"], rows_gone=0)
    insert(engine, "forgettings", wish_id="w2", created_ms=1, user_id=None, rows_gone=1)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT user_id FROM forgettings ORDER BY wish_id"))
        assert list(rows.scalars()) == [NORMAL, None]
