"""The values that the store takes and returns: frozen, validated, and free of SQL.

They are pydantic models: `model_dump_json` and `model_validate_json` take a record through the
journal, and a payload that is none raises `ValueError`. Times are seconds since the epoch, UTC.
"""

import time
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Json = dict[str, Any]
Moment = tuple[float, float]  # by the client's clock and, when we heard of it, by ours
UPSTREAM, RULE, ABSTAINED = "upstream:", "rule:", "abstained"
"""Begin an upstream's or a rule's `version`; the `finish_reason` where no candidate was given."""


class Record(BaseModel):
    """The common settings of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Task(StrEnum):
    """What a model was asked to do."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSE = "response"
    SUGGESTION = "suggestion"
    SUMMARY = "summary"
    INSIGHT = "insight"


class Status(StrEnum):
    """How an interaction ended."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    ERROR = "error"


class State(StrEnum):
    """Where an adapter version stands."""

    CANDIDATE = "candidate"
    REJECTED = "rejected"
    CANARY = "canary"
    LIVE = "live"
    RETIRED = "retired"


class Action(StrEnum):
    """What a rollout did."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    CANARY = "canary"
    CANCEL_CANARY = "cancel_canary"


class InteractionRecord(Record):
    """One request and the response that a client saw; `id` is the response's own id.

    `steps` is what was tried in turn, where a fallback chain is configured: name of the step,
    outcome (answered, failed, skipped), reason and ms. Where the line holds back that share of its
    turns, `shown_by_draw` is how the draw fell; both are None where none was made. `guards` is what
    its guards found: guard, action, kind, score, span and reason each.
    """

    id: str = Field(min_length=1)
    created_at: float = Field(default_factory=time.time)
    lob: str | None = None
    task: Task
    endpoint: str
    model_requested: str
    version: str | None = None
    base_model: str
    prompt_name: str | None = None
    prompt_hash: str | None = None
    request: Json
    messages: list[Json]
    response: Json
    output: str
    finish_reason: str | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    ttft_ms: float | None = None
    latency_ms: float
    conversation_id: str | None = None
    turn_position: Count | None = None
    key_id: str | None = None
    replica: str
    stream: bool
    status: Status
    steps: list[Json] = Field(default_factory=list)
    holdback: Share | None = None
    shown_by_draw: bool | None = None
    guards: list[Json] = Field(default_factory=list)


class FeedbackRecord(Record):
    """What one person thought of one interaction.

    `key_id` is "" where API keys are off; `id` is None until the store has given it one; `index`
    is the candidate that it judges.
    """

    id: int | None = None
    interaction_id: str
    client_key: str = Field(min_length=1)
    key_id: str = ""
    created_at: float = Field(default_factory=time.time)
    rating: Share | None = None
    edit: str | None = None
    used: bool | None = None
    rejected: bool | None = None
    comment: str | None = None
    index: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0


class LabelledInteraction(Record):
    """An interaction with all its feedback, oldest first."""

    interaction: InteractionRecord
    feedback: tuple[FeedbackRecord, ...]


class Served(Record):
    """What a comparison of versions needs of an interaction, with its feedback, oldest first.

    `others` are the texts of further candidates, where feedback names one. `held`: it became a
    person's task. Of events: `displayed` is the first display, `went_out` the first text sent,
    typed or saved whole, else None; `typed`: the agent wrote a reply without any candidate.
    """

    id: str
    created_at: float
    model_requested: str
    version: str | None
    conversation_id: str | None
    latency_ms: float
    status: Status
    output: str
    finish_reason: str | None = None
    task: Task | None = None
    turn_position: Count | None = None
    holdback: Share | None = None
    shown_by_draw: bool | None = None
    displayed: Moment | None = None
    went_out: Moment | None = None
    typed: bool = False
    held: bool = False
    feedback: tuple[FeedbackRecord, ...] = ()
    others: dict[int, str] = Field(default_factory=dict)


class DatasetRecord(Record):
    """A training set, named by the sha256 of its content."""

    id: str = Field(min_length=1)
    lob: str
    created_at: float = Field(default_factory=time.time)
    uri: str
    manifest: Json


class AdapterVersion(Record):
    """One adapter with its lineage; `id` is unique for ever and serves as vLLM's `lora_int_id`.

    `prompts` is each task that it has a prompt of its own for, with that one's `name` and `hash`.
    `upstream` is the `name` and `model` of the upstream that answers for it; None: the engine does.
    """

    id: int
    lob: str
    number: int
    name: str
    state: State
    parent: str | None
    base_model: str
    base_hash: str
    dataset_id: str | None
    recipe: Json
    metrics: Json
    decision: Json
    uri: str
    manifest_hash: str
    rank: int
    created_at: float
    prompts: dict[str, dict[str, str]] | None = None
    upstream: dict[str, str] | None = None


class Route(Record):
    """Which version answers for a line of business; None is the base model.

    `epoch` grows by one with every change, so the higher of two routes is the newer. `previous`
    follows from the history: what a rollback leads to.
    """

    lob: str
    live: str | None = None
    canary: str | None = None
    canary_share: Share = 0.0
    epoch: int = 0
    previous: str | None = None


class Rollout(Record):
    """One change of a route, as it happened; `seconds` is how long the replicas took."""

    id: int
    lob: str
    action: Action
    from_version: str | None
    to_version: str | None
    share: float | None
    epoch: int
    key_id: str | None
    seconds: float | None
    created_at: float


class AuditEntry(Record):
    """Who did what to which thing; `hash` chains it to the entry before."""

    id: int
    created_at: float
    key_id: str | None
    action: str
    target: str
    detail: Json
    hash: str


class Flywheel(Record):
    """What people told the scheduler of a line of business, and since when it is known."""

    lob: str
    paused: bool = False
    forced: bool = False
    created_at: float


class CycleState(StrEnum):
    """Where a cycle is: the first four go on, the others are its end."""

    CURATE = "curate"
    TRAIN = "train"
    CANARY = "canary"
    PROMOTE = "promote"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    TOO_LITTLE_DATA = "too_little_data"
    FAILED = "failed"


OPEN_CYCLES = frozenset(
    {CycleState.CURATE, CycleState.TRAIN, CycleState.CANARY, CycleState.PROMOTE}
)
JUDGED_CYCLES = frozenset({CycleState.PROMOTED, CycleState.REJECTED, CycleState.ROLLED_BACK})


class Cycle(Record):
    """One turn of a line of business's flywheel.

    `feedback_seen` is the newest feedback's id when its dataset was built; `attempts` counts the
    failures of the present step; `term` is that of the lease under which it was last written;
    `log` holds what happened, each entry with `at`, `state` and `text`.
    """

    id: int
    lob: str
    number: int
    state: CycleState
    reason: str
    version: str | None = None
    dataset_id: str | None = None
    feedback_seen: int = 0
    error: str | None = None
    attempts: int = 0
    retry_at: float | None = None
    term: int
    log: tuple[Json, ...] = ()
    created_at: float
    updated_at: float

    @property
    def is_open(self) -> bool:
        """Whether there is more to do."""
        return self.state in OPEN_CYCLES
