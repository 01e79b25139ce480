"""Redactions, and a vault for originals.

Revision 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "redactions",
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("known", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["interaction_id"],
            ["interactions.id"],
            name=op.f("fk_redactions_interaction_id_interactions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("interaction_id", name=op.f("pk_redactions")),
    )
    op.create_table(
        "vault_keys",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_vault_keys")),
    )
    op.create_index(op.f("ix_vault_keys_key_id"), "vault_keys", ["key_id"])
    op.create_table(
        "vault",
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["interaction_id"],
            ["interactions.id"],
            name=op.f("fk_vault_interaction_id_interactions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("interaction_id", "field", name=op.f("pk_vault")),
    )
    op.create_index(op.f("ix_vault_scope"), "vault", ["scope"])


def downgrade() -> None:
    """Drop the tables: edits of redacted interactions then come unredacted, originals are gone."""
    op.drop_table("vault")
    op.drop_table("vault_keys")
    op.drop_table("redactions")
