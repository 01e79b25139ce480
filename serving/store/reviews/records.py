"""The values of the review queue; times are seconds since the epoch by the database's clock."""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from serving.store.records import Json, Record

OPEN = "open"


class Status(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    ESCALATED = "escalated"
    CLAIMED = "claimed"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing can change it any more."""
        return self in _FINAL


_FINAL = {Status.APPROVED, Status.EDITED, Status.REJECTED, Status.EXPIRED}


class Decision(StrEnum):
    """What a reviewer says of an answer."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"

    @property
    def status(self) -> Status:
        """The status that follows."""
        return _FOLLOWS[self]


_FOLLOWS = {
    Decision.APPROVE: Status.APPROVED,
    Decision.EDIT: Status.EDITED,
    Decision.REJECT: Status.REJECTED,
}


class EventKind(StrEnum):
    """What happens to a task."""

    CREATED = "created"
    CLAIMED = "claimed"
    RENEWED = "renewed"
    RELEASED = "released"
    LAPSED = "lapsed"
    ESCALATED = "escalated"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    EXPIRED = "expired"


class NewReview(Record):
    """A task as it is made.

    Args:
        key_id: Who asked for the answer; "" where keys are off.
        kinds: What was found, without texts.
        deadline_s: It is escalated so long after it was made.
        escalation_s: It expires so long after that.
        context: JSON of all that a reviewer needs; may be sealed.
    """

    id: str = Field(min_length=1)
    lob: str
    task: str
    version: str
    interaction_id: str
    key_id: str = ""
    kinds: list[str]
    escalate_to: list[str] = Field(default_factory=list)
    deadline_s: float = Field(gt=0)
    escalation_s: float = Field(ge=0)
    context: bytes


class Review(Record):
    """A task as it stood at `now`; `term` grows with each change of hands."""

    id: str
    changed: int
    lob: str
    task: str
    version: str
    interaction_id: str
    key_id: str
    kinds: list[str]
    escalate_to: list[str]
    created_at: float
    deadline: float
    final_deadline: float
    state: str
    escalated_at: float | None
    claimed_by: str | None
    claim_until: float | None
    term: int
    decided_by: str | None
    decided_at: float | None
    taught: bool
    context: bytes
    outcome: bytes | None
    now: float

    @property
    def status(self) -> Status:
        """Where it stands, whether or not a sweep has noted that already."""
        if self.state != OPEN:
            return Status(self.state)
        if self.final_deadline <= self.now:
            return Status.EXPIRED
        if self.claim_until is not None and self.claim_until > self.now:
            return Status.CLAIMED
        return Status.ESCALATED if self.deadline <= self.now else Status.PENDING


class ReviewEvent(Record):
    """What happened to a task, in the order of commits."""

    number: int
    review_id: str
    lob: str
    kind: EventKind
    at: float
    key_id: str | None
    detail: Json


MARK = "review"


def mark(id: str) -> Json:  # noqa: A002
    """Return what stands among an interaction's `guards` where its answer became a task.

    Such an interaction keeps the model's answer, which the client never got: only the reviewer's
    decision is feedback on it.
    """
    return {
        "guard": MARK,
        "action": "review",
        "kind": "held",
        "score": 1.0,
        "span": [0, 0],
        "reason": "A person decides on it.",
        "review": id,
    }


def held_as(guards: Sequence[Json]) -> str | None:
    """Return the task that an interaction became, by its `guards`; None: it is no task."""
    return next((one.get("review") for one in guards if one.get("guard") == MARK), None)
