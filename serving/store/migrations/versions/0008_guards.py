"""What guards found in an interaction.

Revision 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what is there nothing was found."""
    empty = sa.text("'[]'")
    op.add_column(
        "interactions", sa.Column("guards", sa.JSON(), nullable=False, server_default=empty)
    )


def downgrade() -> None:
    """Drop the column; what was found is forgotten."""
    op.drop_column("interactions", "guards")
