"""The first tables: sessions, turns, messages, events, runs of text, tombstones, idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ending", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("active_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("reserved_seq", sa.BigInteger, nullable=False),
        sa.Column("floor_seq", sa.BigInteger, nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    )
    op.create_index("sessions_by_creation", "sessions", ["principal", "agent", "created_ms", "session_id"])
    op.create_index("sessions_by_activity", "sessions", ["principal", "agent", "active_ms", "session_id"])
    op.create_index("sessions_by_status", "sessions", ["status", "active_ms"])
    op.create_table(
        "tombstones",
        sa.Column("id_hash", sa.LargeBinary, primary_key=True),
        sa.Column("owner_hash", sa.LargeBinary, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
    )
    op.create_table(
        "turns",
        sa.Column("turn_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("background", sa.Integer, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("user_message_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("finished_ms", sa.BigInteger),
        sa.Column("usage", sa.Text),
        sa.Column("timings", sa.Text),
        sa.Column("error", sa.Text),
    )
    is_open = sa.text("state IN ('running', 'waiting')")
    op.create_index(
        "turns_one_open", "turns", ["session_id"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("turns_by_session", "turns", ["session_id", "place"])
    unfinished = sa.text("finished_ms IS NULL")
    op.create_index("turns_unfinished", "turns", ["state"], sqlite_where=unfinished, postgresql_where=unfinished)
    op.create_table(
        "messages",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "seq"),
    )
    op.create_table(
        "events",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text),
        sa.Column("fact", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "seq"),
    )
    op.create_table(
        "runs",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("lengths", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.Text),
        sa.Column("message_seq", sa.BigInteger),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "first_seq"),
    )
    op.create_index("runs_by_age", "runs", ["created_ms"])
    op.create_table(
        "idempotency",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("body_hash", sa.LargeBinary, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "key"),
    )
    op.create_index("idempotency_by_age", "idempotency", ["created_ms"])


def downgrade() -> None:
    for table in ("idempotency", "runs", "events", "messages", "turns", "tombstones", "sessions", "settings"):
        op.drop_table(table)
