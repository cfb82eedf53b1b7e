"""Forked sessions, instructions of a single turn, and the ledger of tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("forked_from", sa.Text))
    op.add_column("turns", sa.Column("instructions", sa.Text))
    op.create_table(
        "usage",
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("llm", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("principal", "user_id", "agent", "llm", "day"),
    )


def downgrade() -> None:
    op.drop_table("usage")
    op.drop_column("turns", "instructions")
    op.drop_column("sessions", "forked_from")
