"""Why the model ended its answer, beside the end of the turn."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("turns", sa.Column("finish_reason", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "finish_reason")
