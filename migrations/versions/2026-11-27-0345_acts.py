"""The ledger of acts, results too large for a window, rules that people made by answering; tool messages; labels."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_CHILD = "parent_call IS NOT NULL"
_OPEN = "state IN ('waiting', 'unknown')"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("parent_call", sa.Text))
    op.create_index(
        "sessions_by_parent",
        "sessions",
        ["parent_call"],
        sqlite_where=sa.text(_CHILD),
        postgresql_where=sa.text(_CHILD),
    )
    op.add_column("turns", sa.Column("waiting_for", sa.Text))
    for name in ("tool_calls", "tool_call_id", "result_id", "trust", "secrecy"):
        op.add_column("messages", sa.Column(name, sa.Text))
    for name in ("trust", "secrecy"):
        op.add_column("memories", sa.Column(name, sa.Text))
    op.create_table(
        "acts",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("class", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changes", sa.Text),
        sa.Column("waiting_for", sa.Text),
        sa.Column("why", sa.Text),
        sa.Column("rule", sa.Text),
        sa.Column("asked", sa.Text),
        sa.Column("edited", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("result_id", sa.Text),
        sa.Column("kept", sa.Text),
        sa.Column("expires_ms", sa.BigInteger),
        sa.Column("is_checkpointed", sa.Integer, nullable=False),
        sa.Column("remembers", sa.Text),
        sa.Column("trust", sa.Text),
        sa.Column("secrecy", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "call_id"),
    )
    op.create_index("acts_by_turn", "acts", ["session_id", "turn_id", "step", "place"])
    op.create_index(
        "acts_open",
        "acts",
        ["state", "expires_ms"],
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )
    op.create_table(
        "results",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("result_id", sa.Text, nullable=False),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "result_id"),
    )
    op.create_table(
        "remembered_rules",
        sa.Column("rule_id", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("remembered_rules_by_user", "remembered_rules", ["principal", "agent", "user_id"])


def downgrade() -> None:
    op.drop_table("remembered_rules")
    op.drop_table("results")
    op.drop_table("acts")
    for name in ("trust", "secrecy"):
        op.drop_column("memories", name)
    for name in ("tool_calls", "tool_call_id", "result_id", "trust", "secrecy"):
        op.drop_column("messages", name)
    op.drop_column("turns", "waiting_for")
    op.drop_index("sessions_by_parent", "sessions")
    op.drop_column("sessions", "parent_call")
