"""Versions that an upstream answers.

Revision 0021, after 0020.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the engine answers for versions of before."""
    op.add_column("adapter_versions", sa.Column("upstream", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop the column; versions that an upstream answers can no longer be loaded."""
    op.drop_column("adapter_versions", "upstream")
