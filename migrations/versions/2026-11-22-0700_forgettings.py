"""What is being forgotten, so that a server that dies meanwhile is followed by one that goes on."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "forgettings",
        sa.Column("wish_id", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("session_id", sa.Text),
        sa.Column("memory_id", sa.Text),
        sa.Column("phrase", sa.Text),
        sa.Column("rows_gone", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("forgettings")
