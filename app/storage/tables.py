"""The tables. Values are integers, text and bytes only, so that both databases store them alike.

Times are milliseconds since the epoch; JSON is text, encoded and decoded where it is used. A lease is a timestamp:
only Postgres compares it, by its own clock. Columns that can hold text declare what they hold, tables with personal
data whose it is (personal.py); `check` at the end refuses others.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from app.storage import document_text, full_text, personal
from app.storage.personal import Kind, OwnerKind, Redaction, holds, not_personal

metadata = MetaData()

_TEXT, _JSON, _DERIVED = holds(Kind.TEXT), holds(Kind.JSON), holds(Kind.DERIVED)
_USER, _SESSION = holds(Kind.USER), holds(Kind.SESSION)
_CONFIGURED = not_personal("names an entry of the configuration")
_DEFINITION = not_personal("defines an agent, as an entry of the configuration does: written by who runs a program")
_GENERATED = not_personal("an id that the server generated")
_CALLER = not_personal("names a program that has a key; chosen by the operator")
_REPLICA = not_personal("names a server of the operator")
_ADDRESS = not_personal("where programs are told of events, and what signs it: chosen by who runs them")
_WORD = not_personal("one of a closed set of words")
_NUMBERS = not_personal("numbers only")
_KEYED = not_personal("a hash keyed with the server's own secret")
_OPERATOR = not_personal("from a document store: files of the operator that belong to no user")

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True, info=not_personal("a name that the server chose")),
    Column("value", LargeBinary, nullable=False, info=not_personal("the server's own key")),
)

# Keys made at run time. `hash` is all that is kept of a secret; `change` is a random number of the last change.
keys = Table(
    "keys",
    metadata,
    Column("key_id", Text, primary_key=True, info=_GENERATED),
    Column("name", Text, nullable=False, info=_CALLER),
    Column("hash", LargeBinary, nullable=False, info=not_personal("the hash of a random secret")),
    Column("scopes", Text, nullable=False, info=_WORD),
    Column("agents", Text, info=_CONFIGURED),
    Column("created_by", Text, nullable=False, info=_CALLER),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("change", BigInteger, nullable=False),
)

# What several servers count together: buckets of rates in thousandths, and places that each of them has leased.
allowances = Table(
    "allowances",
    metadata,
    Column("name", Text, primary_key=True, info=_KEYED),
    Column("level", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("granted", Integer, nullable=False),
)
places = Table(
    "places",
    metadata,
    Column("name", Text, nullable=False, info=_KEYED),
    Column("holder", Text, nullable=False, info=_REPLICA),
    Column("held", Integer, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("name", "holder"),
)

# Agents that clients created. `entry` is what an entry of `agents:` would be, `given` what the client sent in the
# words of its dialect.
agents = Table(
    "agents",
    metadata,
    Column("agent_id", Text, primary_key=True, info=_GENERATED),
    Column("principal", Text, nullable=False, info=_CONFIGURED),
    Column("name", Text, nullable=False, info=_DEFINITION),
    Column("entry", Text, nullable=False, info=_DEFINITION),
    Column("given", Text, nullable=False, info=_DEFINITION),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Text, primary_key=True, info=_SESSION),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("principal", Text, nullable=False, info=_CONFIGURED),
    Column("user_id", Text, nullable=False, info=_USER),
    Column("status", Text, nullable=False, info=_WORD),
    Column("ending", Text, info=_WORD),
    Column("title", Text, info=_TEXT),
    Column("metadata", Text, nullable=False, info=_JSON),
    Column("created_ms", BigInteger, nullable=False),
    Column("active_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("last_seq", BigInteger, nullable=False),
    Column("reserved_seq", BigInteger, nullable=False),
    Column("floor_seq", BigInteger, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("forked_from", Text, info=_SESSION),
    Column("remembered_seq", BigInteger, nullable=False, server_default="0"),
    Column("parent_call", Text, info=_GENERATED),
    Column("owner", Text, info=_REPLICA),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("webhooks", Text, info=_ADDRESS),
    info=personal.of_session("sessions", Redaction.FIELDS, redacted="titles"),
)
Index(
    "sessions_by_creation",
    sessions.c.principal,
    sessions.c.agent,
    sessions.c.created_ms,
    sessions.c.session_id,
)
Index(
    "sessions_by_activity",
    sessions.c.principal,
    sessions.c.agent,
    sessions.c.active_ms,
    sessions.c.session_id,
)
Index(
    "sessions_by_parent",
    sessions.c.parent_call,
    sqlite_where=text("parent_call IS NOT NULL"),
    postgresql_where=text("parent_call IS NOT NULL"),
)
Index("sessions_by_status", sessions.c.status, sessions.c.active_ms)
Index(
    "sessions_by_owner",
    sessions.c.owner,
    sqlite_where=text("owner IS NOT NULL"),
    postgresql_where=text("owner IS NOT NULL"),
)

# The servers of one service, on Postgres. A row whose lease ran out is deleted by any other.
replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True, info=_REPLICA),
    Column("name", Text, nullable=False, info=_REPLICA),
    Column("address", Text, nullable=False, info=_REPLICA),
    Column("started_ms", BigInteger, nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False, info=not_personal("a time")),
)

# What one replica asks of another, in the order of `place`. `session_id` and `body` are blanked when the target takes
# the command, the row is deleted when the sender has the answer (storage/commands.py). Receipts do not count them.
commands = Table(
    "commands",
    metadata,
    Column("id", Text, primary_key=True, info=_GENERATED),
    Column("place", BigInteger, Identity(), nullable=False),
    Column("target", Text, nullable=False, info=_REPLICA),
    Column("sender", Text, nullable=False, info=_REPLICA),
    Column("operation", Text, nullable=False, info=_WORD),
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("body", LargeBinary, nullable=False, info=_DERIVED),
    Column("created_ms", BigInteger, nullable=False),
    Column("taken_ms", BigInteger),
    Column("answered_ms", BigInteger),
    Column("answer", LargeBinary, info=_DERIVED),
    Column("failure", LargeBinary, info=_DERIVED),
    info=personal.of_session("", Redaction.HISTORY_DELETED),
)
Index(
    "commands_new",
    commands.c.target,
    commands.c.place,
    sqlite_where=text("taken_ms IS NULL"),
    postgresql_where=text("taken_ms IS NULL"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("id_hash", LargeBinary, primary_key=True, info=_KEYED),
    Column("owner_hash", LargeBinary, nullable=False, info=_KEYED),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("receipt", Text, nullable=False, info=not_personal("times, numbers and a generated id")),
)

turns = Table(
    "turns",
    metadata,
    Column("turn_id", Text, primary_key=True, info=_GENERATED),
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("state", Text, nullable=False, info=_WORD),
    Column("reason", Text, info=_WORD),
    Column("background", Integer, nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("input", Text, nullable=False, info=_TEXT),
    Column("user_message_id", Text, nullable=False, info=_GENERATED),
    Column("message_id", Text, nullable=False, info=_GENERATED),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("usage", Text, info=_NUMBERS),
    Column("timings", Text, info=_NUMBERS),
    Column("error", Text, info=_JSON),
    Column("instructions", Text, info=_TEXT),
    Column("memory", Text, info=_JSON),
    Column("finish_reason", Text, info=not_personal("a short word of the model's provider")),
    Column("waiting_for", Text, info=_WORD),
    Column("response_format", Text, info=_JSON),
    Column("agent_version", Text, info=not_personal("a hash of a part of the configuration, without its secrets")),
    info=personal.of_session("turns", Redaction.TURNS),
)
# At most one turn of a session runs or waits: the rule lives here, not in the code that hopes for it.
Index(
    "turns_one_open",
    turns.c.session_id,
    unique=True,
    sqlite_where=text("state IN ('running', 'waiting')"),
    postgresql_where=text("state IN ('running', 'waiting')"),
)
Index("turns_by_session", turns.c.session_id, turns.c.place)
Index(
    "turns_unfinished",
    turns.c.state,
    sqlite_where=text("finished_ms IS NULL"),
    postgresql_where=text("finished_ms IS NULL"),
)

# `turn_id` is empty for a message that no turn made.
messages = Table(
    "messages",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("seq", BigInteger, nullable=False),
    Column("message_id", Text, nullable=False, info=_GENERATED),
    Column("turn_id", Text, nullable=False, info=_GENERATED),
    Column("role", Text, nullable=False, info=_WORD),
    Column("content", Text, nullable=False, info=_TEXT),
    Column("status", Text, nullable=False, info=_WORD),
    Column("created_ms", BigInteger, nullable=False),
    Column("tool_calls", Text, info=_JSON),
    Column("tool_call_id", Text, info=_GENERATED),
    Column("result_id", Text, info=_GENERATED),
    Column("trust", Text, info=_WORD),
    Column("secrecy", Text, info=_WORD),
    PrimaryKeyConstraint("session_id", "seq"),
    info=personal.of_session("messages", Redaction.ROWS),
)

# The ledger of acts: one row a tool call, inserted before anything happens, updated under the condition of the state
# before. `place` orders the calls of a step.
acts = Table(
    "acts",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("call_id", Text, nullable=False, info=_GENERATED),
    Column("turn_id", Text, nullable=False, info=_GENERATED),
    Column("step", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("name", Text, nullable=False, info=_CONFIGURED),
    Column("class", Text, nullable=False, info=_WORD),
    Column("arguments", Text, info=_TEXT),
    Column("state", Text, nullable=False, info=_WORD),
    Column("changes", Text, info=_JSON),
    Column("waiting_for", Text, info=_WORD),
    Column("why", Text, info=_TEXT),
    Column("rule", Text, info=_CONFIGURED),
    Column("asked", Text, info=_JSON),
    Column("edited", Text, info=_TEXT),
    Column("outcome", Text, info=_TEXT),
    Column("result", Text, info=_JSON),
    Column("result_id", Text, info=_GENERATED),
    Column("kept", Text, info=_JSON),
    Column("expires_ms", BigInteger),
    Column("is_checkpointed", Integer, nullable=False),
    Column("remembers", Text, info=_TEXT),
    Column("trust", Text, info=_WORD),
    Column("secrecy", Text, info=_WORD),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "call_id"),
    info=personal.of_session("acts", Redaction.ROWS),
)
Index("acts_by_turn", acts.c.session_id, acts.c.turn_id, acts.c.step, acts.c.place)
Index(
    "acts_open",
    acts.c.state,
    acts.c.expires_ms,
    sqlite_where=text("state IN ('waiting', 'unknown')"),
    postgresql_where=text("state IN ('waiting', 'unknown')"),
)

# Results too large for the model's window, as a whole.
results = Table(
    "results",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("result_id", Text, nullable=False, info=_GENERATED),
    Column("call_id", Text, nullable=False, info=_GENERATED),
    Column("content", Text, nullable=False, info=_TEXT),
    Column("bytes", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "result_id"),
    info=personal.of_session("results", Redaction.ROWS),
)

# Rules for an agent that people made by answering; those for one session are in its acts (`remembers`).
remembered_rules = Table(
    "remembered_rules",
    metadata,
    Column("rule_id", Text, primary_key=True, info=_GENERATED),
    Column("principal", Text, nullable=False, info=_CONFIGURED),
    Column("user_id", Text, nullable=False, info=_USER),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("rule", Text, nullable=False, info=_TEXT),
    Column("created_ms", BigInteger, nullable=False),
    info=personal.of(OwnerKind.USER, "remembered_rules"),
)
Index("remembered_rules_by_user", remembered_rules.c.principal, remembered_rules.c.agent, remembered_rules.c.user_id)

# Facts: one row an event. `fact` is the frame's JSON object without its number, and without the message of a turn that
# begins or is queued (storage/events.py adds it).
events = Table(
    "events",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False, info=_WORD),
    Column("turn_id", Text, info=_GENERATED),
    Column("fact", Text, nullable=False, info=_JSON),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "seq"),
    info=personal.of_session("events", Redaction.HISTORY_DELETED, seq="seq"),
)

# Text: one row for many consecutive deltas. `lengths` holds their sizes in characters (storage/events.py).
# While a turn runs, `content` is the text itself; afterwards the message holds it and `start` says where.
runs = Table(
    "runs",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("turn_id", Text, nullable=False, info=_GENERATED),
    Column("kind", Text, nullable=False, info=_WORD),
    Column("lengths", LargeBinary, nullable=False, info=_DERIVED),
    Column("content", Text, info=_TEXT),
    Column("message_seq", BigInteger),
    Column("start", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "first_seq"),
    info=personal.of_session("events", Redaction.HISTORY_DELETED, seq="last_seq"),
)
Index("runs_by_age", runs.c.created_ms)

# What older messages of a session were condensed to. A later one stands for all messages up to its number, its
# predecessors are kept for a while: a fork may reach back behind it.
summaries = Table(
    "summaries",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("upto_seq", BigInteger, nullable=False),
    Column("text", Text, nullable=False, info=_TEXT),
    Column("tokens", Integer, nullable=False),
    Column("model", Text, nullable=False, info=_CONFIGURED),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "upto_seq"),
    info=personal.of_session("summaries", Redaction.HISTORY_DELETED),
)

# The ledger: what was used, by whom, on which day. Outlives the sessions; holds no text.
usage = Table(
    "usage",
    metadata,
    Column("principal", Text, nullable=False, info=_CONFIGURED),
    Column("user_id", Text, nullable=False, info=_USER),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("llm", Text, nullable=False, info=_CONFIGURED),
    Column("day", Integer, nullable=False),
    Column("turns", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    PrimaryKeyConstraint("principal", "user_id", "agent", "llm", "day"),
    info=personal.of(OwnerKind.USER, "usage_rows"),
)

# What webhooks are still to be told: one row for each event and address. Rows outlive a terminated session, whose end
# is told, too; they hold no text.
outbox = Table(
    "outbox",
    metadata,
    Column("delivery_id", Text, primary_key=True, info=_GENERATED),
    Column("url", Text, nullable=False, info=_ADDRESS),
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("seq", BigInteger, nullable=False),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("kind", Text, nullable=False, info=_WORD),
    Column(
        "data", Text, nullable=False, info=not_personal("generated ids, words of closed sets, names of tools, numbers")
    ),
    Column("includes_text", Integer, nullable=False),
    Column("secrets", Text, info=_ADDRESS),
    Column("created_ms", BigInteger, nullable=False),
    Column("retried_ms", BigInteger),
    Column("due_ms", BigInteger, nullable=False),
    Column("lease_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failed_ms", BigInteger),
    Column("problem", Text, info=not_personal("a status, or why no connection was made")),
    info=personal.of(OwnerKind.DELIVERY),
)
Index("outbox_by_session", outbox.c.session_id, outbox.c.url, outbox.c.seq)
Index(
    "outbox_due",
    outbox.c.due_ms,
    sqlite_where=text("failed_ms IS NULL"),
    postgresql_where=text("failed_ms IS NULL"),
)

# What is being forgotten: written down first, gone when it is done, so that a process that dies in between is followed
# by one that goes on. Once the rows are gone it does not say any more what it was, and the files are left to clear.
forgettings = Table(
    "forgettings",
    metadata,
    Column("wish_id", Text, primary_key=True, info=_GENERATED),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("principal", Text, nullable=False, info=_CONFIGURED),
    Column("created_ms", BigInteger, nullable=False),
    Column("user_id", Text, info=_USER),
    Column("session_id", Text, info=_SESSION),
    Column("memory_id", Text, info=_GENERATED),
    Column("phrase", Text, info=_TEXT),
    Column("rows_gone", Integer, nullable=False),
    info=personal.of(OwnerKind.REQUEST),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("key", Text, nullable=False, info=holds(Kind.KEY)),
    Column("body_hash", LargeBinary, nullable=False, info=_DERIVED),
    Column("turn_id", Text, nullable=False, info=_GENERATED),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "key"),
    info=personal.of_session("idempotency_keys", Redaction.TURNS_DELETED),
)
Index("idempotency_by_age", idempotency.c.created_ms)

# Addresses of clients that are told when the state of a turn changes. `push_id`: the turn's id and the client's name
# for the address. `config`: the whole configuration, with the client's credentials. `is_told`: the end of the turn was
# told, or the address came after it.
push_configs = Table(
    "push_configs",
    metadata,
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("push_id", Text, nullable=False, info=holds(Kind.KEY)),
    Column("turn_id", Text, nullable=False, info=_GENERATED),
    Column("config", Text, nullable=False, info=_JSON),
    Column("is_told", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_id", "push_id"),
    info=personal.of_session("push_configs", Redaction.ROWS_DELETED),
)
Index(
    "push_configs_untold",
    push_configs.c.session_id,
    sqlite_where=text("is_told = 0"),
    postgresql_where=text("is_told = 0"),
)

# Long-term memory. `audience` says who sees it (app/memory/scope.py), `kind` what it is; `terms` are the stems of the
# text, which the full text of both databases indexes (storage/stem_index.py). A row is never changed but for its pin:
# an edit is a new row under the same id, so that a reader that has read up to a row has missed nothing.
memories = Table(
    "memories",
    metadata,
    Column("row", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("memory_id", Text, nullable=False, info=_GENERATED),
    Column("audience", Text, nullable=False, info=_DERIVED),
    Column("kind", Text, nullable=False, info=_WORD),
    Column("agent", Text, nullable=False, info=_CONFIGURED),
    Column("principal", Text, nullable=False, info=_CONFIGURED),
    Column("user_id", Text, nullable=False, info=_USER),
    Column("session_id", Text, nullable=False, info=_SESSION),
    Column("turn_id", Text, info=_GENERATED),
    Column("message_id", Text, info=_GENERATED),
    Column("place", Integer, nullable=False),
    Column("role", Text, nullable=False, info=_WORD),
    Column("speaker", Text, nullable=False, info=_TEXT),
    Column("text", Text, nullable=False, info=_TEXT),
    Column("terms", Text, nullable=False, info=_DERIVED),
    Column("created_ms", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("pinned", Integer, nullable=False),
    Column("trust", Text, info=_WORD),
    Column("secrecy", Text, info=_WORD),
    sqlite_autoincrement=True,
    info=personal.of(OwnerKind.MEMORY, "memories"),
)
Index("memories_by_id", memories.c.memory_id, unique=True)
Index("memories_by_audience", memories.c.audience, memories.c.row)
Index("memories_by_session", memories.c.session_id, memories.c.place)
Index("memories_by_user", memories.c.principal, memories.c.agent, memories.c.user_id, memories.c.row)

# The texts that edits replaced.
memory_versions = Table(
    "memory_versions",
    metadata,
    Column("memory_id", Text, nullable=False, info=_GENERATED),
    Column("version", Integer, nullable=False),
    Column("text", Text, nullable=False, info=_TEXT),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("memory_id", "version"),
    info=personal.of(OwnerKind.MEMORY, "versions"),
)

# One vector a memory and model: float16, little-endian; `pieces` for late interaction, a row of int8 each.
memory_vectors = Table(
    "memory_vectors",
    metadata,
    Column("row", BigInteger, nullable=False),
    Column("model", Text, nullable=False, info=_CONFIGURED),
    Column("audience", Text, nullable=False, info=_DERIVED),
    Column("vector", LargeBinary, nullable=False, info=_DERIVED),
    Column("pieces", LargeBinary, info=_DERIVED),
    PrimaryKeyConstraint("row", "model"),
    info=personal.of(OwnerKind.MEMORY, "vectors"),
)
Index("memory_vectors_by_audience", memory_vectors.c.audience, memory_vectors.c.model, memory_vectors.c.row)

full_text.INDEX.attach(memories)

# Files of the document stores as they were when they were read; `digest` of their bytes, `fingerprint` of how they
# were read. Empty `digest`: not read to the end.
document_files = Table(
    "document_files",
    metadata,
    Column("file_id", Text, primary_key=True, info=_GENERATED),
    Column("store", Text, nullable=False, info=_CONFIGURED),
    Column("path", Text, nullable=False, info=_OPERATOR),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("digest", Text, nullable=False, info=_OPERATOR),
    Column("fingerprint", Text, nullable=False, info=_OPERATOR),
    Column("chunks", Integer, nullable=False),
    Column("problem", Text, info=_OPERATOR),
    Column("read_ms", BigInteger, nullable=False),
)
Index("document_files_by_path", document_files.c.store, document_files.c.path, unique=True)

# Pieces of documents, in the order of their `place`. The text of a row is never changed: a changed piece is a new row,
# so that a reader that has read up to a row has missed nothing. `terms` and `store_word`: storage/stem_index.py.
document_chunks = Table(
    "document_chunks",
    metadata,
    Column("row", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("store_word", Text, nullable=False, info=_CONFIGURED),
    Column("file_id", Text, nullable=False, info=_GENERATED),
    Column("place", Integer, nullable=False),
    Column("heading", Text, nullable=False, info=_OPERATOR),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False, info=_OPERATOR),
    Column("terms", Text, nullable=False, info=_OPERATOR),
    Column("digest", Text, nullable=False, info=_OPERATOR),
    sqlite_autoincrement=True,
)
Index("document_chunks_by_file", document_chunks.c.file_id, document_chunks.c.place)
Index("document_chunks_by_store", document_chunks.c.store_word, document_chunks.c.row)

# Vectors of a chunk's parts, one after another: float16, little-endian.
document_vectors = Table(
    "document_vectors",
    metadata,
    Column("row", BigInteger, nullable=False),
    Column("model", Text, nullable=False, info=_CONFIGURED),
    Column("store_word", Text, nullable=False, info=_CONFIGURED),
    Column("vectors", LargeBinary, nullable=False, info=_OPERATOR),
    PrimaryKeyConstraint("row", "model"),
)
Index("document_vectors_by_store", document_vectors.c.store_word, document_vectors.c.model, document_vectors.c.row)

document_text.INDEX.attach(document_chunks)

personal.check(metadata)
