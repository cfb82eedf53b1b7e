"""Addresses of clients that are told when the state of a turn changes."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_UNTOLD = "is_told = 0"


def upgrade() -> None:
    op.create_table(
        "push_configs",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("push_id", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("is_told", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "push_id"),
    )
    op.create_index(
        "push_configs_untold",
        "push_configs",
        ["session_id"],
        sqlite_where=sa.text(_UNTOLD),
        postgresql_where=sa.text(_UNTOLD),
    )


def downgrade() -> None:
    op.drop_table("push_configs")
