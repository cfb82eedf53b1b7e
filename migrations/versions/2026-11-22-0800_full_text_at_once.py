"""On Postgres new rows go into the full text at once: its list of pending rows is read whole for every term."""

from alembic import op

revision = "0008"
down_revision = "0007"

INDEXES = ("memories_text", "document_text")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for index in INDEXES:
            op.execute(f"ALTER INDEX {index} SET (fastupdate = off)")
            op.execute(f"SELECT gin_clean_pending_list('{index}')")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for index in INDEXES:
            op.execute(f"ALTER INDEX {index} RESET (fastupdate)")
