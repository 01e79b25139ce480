"""Tasks that go with their interactions: by an erasure, or by age."""

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.reviews.tables import ReviewEventRow, ReviewRow


async def remove(connection: AsyncConnection, interaction_ids: Collection[str]) -> int:
    """Delete the tasks of interactions, stored or not, with their events; return how many tasks.

    Args:
        connection: A writing transaction.
        interaction_ids: The interactions that became tasks.
    """
    mine = ReviewRow.interaction_id.in_(interaction_ids)
    events = ReviewEventRow.review_id.in_(select(ReviewRow.id).where(mine))
    await connection.execute(delete(ReviewEventRow).where(events))
    return (await connection.execute(delete(ReviewRow).where(mine))).rowcount
