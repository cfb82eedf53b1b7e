"""Documents: files of the document stores, their chunks with full text, and vectors."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"

FULL_TEXT = {
    "sqlite": (
        "CREATE VIRTUAL TABLE document_text USING fts5(store_word, terms, content='document_chunks',"
        " content_rowid='row', tokenize='unicode61 remove_diacritics 0', detail='column')",
        "CREATE TRIGGER document_text_added AFTER INSERT ON document_chunks BEGIN"
        " INSERT INTO document_text(rowid, store_word, terms) VALUES (new.row, new.store_word, new.terms); END",
        "CREATE TRIGGER document_text_removed AFTER DELETE ON document_chunks BEGIN"
        " INSERT INTO document_text(document_text, rowid, store_word, terms)"
        " VALUES ('delete', old.row, old.store_word, old.terms); END",
    ),
    "postgresql": (
        "CREATE INDEX document_text ON document_chunks USING gin ((array_to_tsvector(string_to_array(terms, ' '))))",
    ),
}


def upgrade() -> None:
    op.create_table(
        "document_files",
        sa.Column("file_id", sa.Text, primary_key=True),
        sa.Column("store", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("read_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("document_files_by_path", "document_files", ["store", "path"], unique=True)
    op.create_table(
        "document_chunks",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("store_word", sa.Text, nullable=False),
        sa.Column("file_id", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("heading", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("document_chunks_by_file", "document_chunks", ["file_id", "place"])
    op.create_index("document_chunks_by_store", "document_chunks", ["store_word", "row"])
    op.create_table(
        "document_vectors",
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("store_word", sa.Text, nullable=False),
        sa.Column("vectors", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("row", "model"),
    )
    op.create_index("document_vectors_by_store", "document_vectors", ["store_word", "model", "row"])
    for statement in FULL_TEXT[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("document_text")
    for table in ("document_vectors", "document_chunks", "document_files"):
        op.drop_table(table)
