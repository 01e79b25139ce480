"""The values of fine-tuning jobs; times are seconds since the epoch by the database's clock."""

from typing import Literal

from pydantic import Field

from serving.store.jobs.state import OVER, JobState
from serving.store.records import Json, Record

Method = Literal["supervised", "dpo", "kto"]
Level = Literal["info", "warn", "error"]
Kind = Literal["message", "metrics"]
AUTO = "auto"
"""A hyperparameter that the line's recipe decides."""


class JobRecord(Record):
    """One fine-tuning job; `attempts` counts the runners that took it since its last step."""

    id: str
    key_id: str
    lob: str
    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int
    method: Json
    labels: Json = Field(default_factory=dict)
    priority: int = 0
    status: JobState = JobState.VALIDATING
    created_at: float = 0.0
    finished_at: float | None = None
    estimated_finish: float | None = None
    term: int = 0
    attempts: int = 0
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result_files: list[str] = Field(default_factory=list)
    error: Json = Field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in OVER


class JobEvent(Record):
    """What happened to a job; one with a `name` is kept once."""

    message: str
    level: Level = "info"
    kind: Kind = "message"
    data: Json = Field(default_factory=dict)
    name: str | None = None
    number: int = 0
    created_at: float = 0.0


class JobCheckpoint(Record):
    """A step at which a job could be resumed, with its metrics."""

    step: int = Field(ge=0)
    metrics: Json
    created_at: float = 0.0
