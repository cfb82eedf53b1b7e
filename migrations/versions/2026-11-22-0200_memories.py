"""Long-term memory: memories, their earlier versions, their vectors, and the full text over them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

FULL_TEXT = {
    "sqlite": (
        "CREATE VIRTUAL TABLE memories_text USING fts5(audience, terms, content='memories', content_rowid='row',"
        " tokenize='unicode61 remove_diacritics 0', detail='column')",
        "CREATE TRIGGER memories_text_added AFTER INSERT ON memories BEGIN"
        " INSERT INTO memories_text(rowid, audience, terms) VALUES (new.row, new.audience, new.terms); END",
        "CREATE TRIGGER memories_text_removed AFTER DELETE ON memories BEGIN"
        " INSERT INTO memories_text(memories_text, rowid, audience, terms)"
        " VALUES ('delete', old.row, old.audience, old.terms); END",
    ),
    "postgresql": (
        "CREATE INDEX memories_text ON memories USING gin ((array_to_tsvector(string_to_array(terms, ' '))))",
    ),
}


def upgrade() -> None:
    op.create_table(
        "memories",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("memory_id", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text),
        sa.Column("message_id", sa.Text),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("speaker", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("pinned", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("memories_by_id", "memories", ["memory_id"], unique=True)
    op.create_index("memories_by_audience", "memories", ["audience", "row"])
    op.create_index("memories_by_session", "memories", ["session_id", "place"])
    op.create_index("memories_by_user", "memories", ["principal", "agent", "user_id", "row"])
    op.create_table(
        "memory_versions",
        sa.Column("memory_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("memory_id", "version"),
    )
    op.create_table(
        "memory_vectors",
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("pieces", sa.LargeBinary),
        sa.PrimaryKeyConstraint("row", "model"),
    )
    op.create_index("memory_vectors_by_audience", "memory_vectors", ["audience", "model", "row"])
    for statement in FULL_TEXT[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("memories_text")
    for table in ("memory_vectors", "memory_versions", "memories"):
        op.drop_table(table)
