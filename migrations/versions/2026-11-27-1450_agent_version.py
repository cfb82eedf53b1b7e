"""The version of its agent, with every turn."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("turns", sa.Column("agent_version", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "agent_version")
