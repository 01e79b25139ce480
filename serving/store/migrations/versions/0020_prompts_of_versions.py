"""Prompts that adapter versions bring along.

Revision 0020, after 0019.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; versions of before have none."""
    op.add_column("adapter_versions", sa.Column("prompts", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop the column; the prompts stay in the versions' folders."""
    op.drop_column("adapter_versions", "prompts")
