"""Which candidate of a response a feedback judges.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; feedback that is there judged what clients saw as the output."""
    op.add_column(
        "feedback",
        sa.Column("index", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    """Drop the column with the feedback on other candidates, which would judge the first."""
    feedback = sa.table("feedback", sa.column("index", sa.Integer()))
    op.execute(feedback.delete().where(feedback.c.index > 0))
    op.drop_column("feedback", "index")
