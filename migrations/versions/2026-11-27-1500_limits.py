"""What several servers count together: allowances of rates, places for turns and streams."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "allowances",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("level", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("granted", sa.Integer, nullable=False),
    )
    op.create_table(
        "places",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held", sa.Integer, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "holder"),
    )


def downgrade() -> None:
    op.drop_table("places")
    op.drop_table("allowances")
