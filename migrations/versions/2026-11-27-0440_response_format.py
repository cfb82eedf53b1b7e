"""The form that a turn's answer is asked for in."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("turns", sa.Column("response_format", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "response_format")
