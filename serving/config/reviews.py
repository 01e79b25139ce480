"""A line's review queue: when a person decides on an answer before the client has it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from serving.config.base import Section
from serving.config.guards import Patterns
from serving.config.secrets import SecretName

FALLBACK_TEXT = "One moment, I am checking."
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


Told = Literal["created", "escalated", "expired"]


class Rule(Section):
    """What is of high stakes: each condition that is given must hold."""

    name: str = Field(
        pattern="^[a-z][a-z_]{0,31}$", description="What it finds, for reviewers and metrics."
    )
    answer: Patterns = Field(
        default_factory=list, description="Regular expressions, any of which is in the answer."
    )
    customer: Patterns = Field(
        default_factory=list,
        description="Regular expressions, any of which is in the customer's last message.",
    )
    amount_above: float | None = Field(
        None, ge=0, description="An amount of money in either of the two is above this."
    )

    @model_validator(mode="after")
    def _asks_something(self) -> "Rule":
        if not self.answer and not self.customer and self.amount_above is None:
            raise ValueError("give at least one of answer, customer, amount_above")
        return self


class LowConfidence(Section):
    """Answers of which the model was not sure."""

    below: float = Field(
        gt=0,
        le=1,
        description="A person decides on an answer whose mean token probability is below this.",
    )


class Webhook(Section):
    """Where a line's reviewers hear of tasks."""

    url: SecretName = Field(
        description="Where events of tasks are posted as JSON, by name (${NAME} or ${file:/path}), "
        "since such an address lets anybody post."
    )
    secret: SecretName | None = Field(
        None, description="Signs what is posted (HMAC-SHA256), by name; null does not."
    )
    events: list[Told] = Field(
        default_factory=lambda: list(get_args(Told)),
        min_length=1,
        description="Which are posted.",
    )


class Reviews(Section):
    """The review queue of a line; what its guards hold for review becomes a task there."""

    deadline_s: float = Field(
        120.0, gt=0, le=30 * 86400, description="Seconds until a task is escalated."
    )
    escalation_s: float = Field(
        120.0,
        ge=0,
        le=30 * 86400,
        description="Seconds from then until it expires with the fallback text.",
    )
    escalate_to: list[Name] = Field(
        default_factory=list,
        max_length=20,
        description="Who is to see escalated tasks; named in the task, its event and the webhook.",
    )
    webhook: Webhook | None = Field(None, description="Tells people of tasks; null tells nobody.")
    claim_s: float = Field(
        300.0,
        ge=1,
        le=86400,
        description="Seconds that a claim lasts, unless it is renewed.",
    )
    fallback_text: str = Field(
        FALLBACK_TEXT,
        min_length=1,
        max_length=2000,
        description="What the client gets while a person checks, and for good on expiry.",
    )
    high_stakes: list[Rule] = Field(
        default_factory=list,
        max_length=50,
        description="Rules that hold an answer though no guard finds anything.",
    )
    low_confidence: LowConfidence | None = Field(
        None, description="Holds an answer of which the model was not sure; null holds none."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> "Reviews":
        names = [rule.name for rule in self.high_stakes]
        if len(set(names)) < len(names):
            raise ValueError("high_stakes: two rules have the same name")
        return self


def check_engine(name: str, reviews: Reviews | None, engine: Mapping[str, Any]) -> None:
    """Refuse a confidence of an engine that gives no probabilities.

    Raises:
        ValueError: It does not; names the key.
    """
    mode = str(engine.get("logprobs_mode", ""))
    if reviews is not None and reviews.low_confidence is not None and mode.endswith("_logits"):
        raise ValueError(
            f"{name}.reviews.low_confidence: engine.logprobs_mode {mode} gives no probabilities"
        )


def secrets(name: str, reviews: Reviews | None) -> list[tuple[str, str]]:
    """Return the keys of a line's queue that name secrets, with their values."""
    hook = reviews.webhook if reviews is not None else None
    if hook is None:
        return []
    key = f"lobs.{name}.reviews.webhook"
    named = (f"{key}.url", hook.url), (f"{key}.secret", hook.secret)
    return [(its, value) for its, value in named if value is not None]
