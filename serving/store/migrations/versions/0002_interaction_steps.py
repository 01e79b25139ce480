"""The steps of a fallback chain, on each interaction.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; interactions that are there had no chain."""
    op.add_column(
        "interactions",
        sa.Column("steps", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
    )


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("interactions", "steps")
