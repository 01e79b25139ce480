"""Embeddings of what libraries hold.

Revision 0018, after 0017.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "library_vectors",
        sa.Column("lob", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            *("lob", "kind", "number", "embedder", "first"), name=op.f("pk_library_vectors")
        ),
    )


def downgrade() -> None:
    """Drop the table; replicas embed what is live again."""
    op.drop_table("library_vectors")
