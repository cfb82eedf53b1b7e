"""Several servers on one database: who they are, which sessions they own, what they ask of each other."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_OWNED = "owner IS NOT NULL"
_NEW = "taken_ms IS NULL"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("owner", sa.Text))
    op.add_column("sessions", sa.Column("epoch", sa.Integer, nullable=False, server_default="0"))
    op.create_index(
        "sessions_by_owner",
        "sessions",
        ["owner"],
        sqlite_where=sa.text(_OWNED),
        postgresql_where=sa.text(_OWNED),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("place", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("taken_ms", sa.BigInteger),
        sa.Column("answered_ms", sa.BigInteger),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("failure", sa.LargeBinary),
    )
    op.create_index(
        "commands_new",
        "commands",
        ["target", "place"],
        sqlite_where=sa.text(_NEW),
        postgresql_where=sa.text(_NEW),
    )


def downgrade() -> None:
    op.drop_table("commands")
    op.drop_table("replicas")
    op.drop_index("sessions_by_owner", "sessions")
    op.drop_column("sessions", "epoch")
    op.drop_column("sessions", "owner")
