"""Turns whose suggestion is held back by a draw: the share in force, and how the draw fell.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of what is there none was drawn."""
    op.add_column("interactions", sa.Column("holdback", sa.Double(), nullable=True))
    op.add_column("interactions", sa.Column("shown_by_draw", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Drop the columns; what was held back counts as shown."""
    op.drop_column("interactions", "shown_by_draw")
    op.drop_column("interactions", "holdback")
