"""What a rollout did."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """What a promotion, canary or rollback did. `seconds` is from request to last flip."""

    action: str
    lob: str
    from_version: str | None
    to_version: str | None
    share: float
    epoch: int
    replicas: int
    seconds: float
