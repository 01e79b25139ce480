"""Erasures, what they refuse from then on, and how far journals have followed.

Revision 0011, after 0009.
"""

import sqlalchemy as sa
from alembic import op

from serving.store.tables import BigKey

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "erasures",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("target_hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    for column in ("state", "target_hash"):
        op.create_index(op.f(f"ix_erasures_{column}"), "erasures", [column])
    op.create_table(
        "erasure_items",
        sa.Column("erasure_id", BigKey, nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasures.id"], name=op.f("fk_erasure_items_erasure_id_erasures")
        ),
        sa.PrimaryKeyConstraint("erasure_id", "interaction_id", name=op.f("pk_erasure_items")),
    )
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "erasure_hash_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_hash_key")),
    )
    op.create_table(
        "journals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("clean_through", BigKey, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_journals")),
    )


def downgrade() -> None:
    """Drop the tables: what waits in a journal then comes back."""
    for table in (
        *("journals", "erasure_hash_key", "tombstones"),
        *("erasure_items", "erasures"),
    ):
        op.drop_table(table)
