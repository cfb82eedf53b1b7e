"""What turns need of memory: how far a session is remembered, what a turn recalled, summaries of older messages."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("remembered_seq", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("turns", sa.Column("memory", sa.Text))
    op.create_table(
        "summaries",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("upto_seq", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "upto_seq"),
    )


def downgrade() -> None:
    op.drop_table("summaries")
    op.drop_column("turns", "memory")
    op.drop_column("sessions", "remembered_seq")
