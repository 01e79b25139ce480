"""The days that figures are of."""

import time
from typing import Annotated

from fastapi import Query

DAYS = 30.0
DAY_S = 86_400.0
Days = Annotated[
    float, Query(gt=0, le=3650, allow_inf_nan=False, description="Of so many last days.")
]


def since(days: float) -> float:
    """Return when a window of so many days began, in seconds since the epoch."""
    return time.time() - days * DAY_S
