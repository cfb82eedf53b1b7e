"""Webhooks: those of sessions, and the outbox of what is still to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_PENDING = "failed_ms IS NULL"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("webhooks", sa.Text))
    op.create_table(
        "outbox",
        sa.Column("delivery_id", sa.Text, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("includes_text", sa.Integer, nullable=False),
        sa.Column("secrets", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("retried_ms", sa.BigInteger),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_ms", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failed_ms", sa.BigInteger),
        sa.Column("problem", sa.Text),
    )
    op.create_index("outbox_by_session", "outbox", ["session_id", "url", "seq"])
    op.create_index(
        "outbox_due", "outbox", ["due_ms"], sqlite_where=sa.text(_PENDING), postgresql_where=sa.text(_PENDING)
    )


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_column("sessions", "webhooks")
