"""How often a key may call Switchboard's own endpoints: feedback, interactions, versions.

They take no place of the engine's, so nothing else bounds them, but each call asks the store.
"""

import math
import time

from serving.admission.rate_limit import Bucket
from serving.auth import ApiKey
from serving.config.limits import Limits
from serving.errors import RateLimited
from serving.observability import metrics


class KeyRates:
    """The rates of all keys on a replica.

    Args:
        limits: The configuration's section.
        replicas: Among how many replicas rates are divided.
    """

    def __init__(self, limits: Limits, replicas: int) -> None:
        self._limits = limits
        self._replicas = replicas
        self._buckets: dict[str, Bucket | None] = {}

    def take(self, key: ApiKey) -> None:
        """Count a call.

        Raises:
            RateLimited: The key has used up its rate.
        """
        if key.id not in self._buckets:
            of_key = self._limits.keys.get(key.name, self._limits.default_key)
            rate = of_key.own_calls_per_minute
            self._buckets[key.id] = Bucket(rate / self._replicas) if rate else None
        bucket = self._buckets[key.id]
        if bucket is not None and (wait_s := bucket.take(time.monotonic())):
            metrics.REJECTED.labels("", "key_rate").inc()
            low, high = self._limits.retry_after_min_s, self._limits.retry_after_max_s
            raise RateLimited(
                f"The key {key.name} has more calls than its rate allows.",
                headers={"retry-after": str(max(low, min(high, math.ceil(wait_s))))},
            )
