"""The configuration's limits: what a line of business, a key or a request may use."""

from pydantic import Field, field_validator, model_validator

from serving.config.base import Section
from serving.config.secrets import SecretName

TASKS = ("suggestion", "summary", "chat", "completion", "response", "insight")


class NewNetwork(Section):
    """Keys that are used from a network from which they never were."""

    learning_days: float = Field(
        7.0, ge=0, description="Networks of a key's first days are learned, and not told."
    )
    ipv4_prefix: int = Field(
        24, ge=8, le=32, description="Bits of an IPv4 address that are its network."
    )
    ipv6_prefix: int = Field(
        48, ge=16, le=128, description="Bits of an IPv6 address that are its network."
    )


class Alerts(Section):
    """What is told by a webhook, and where."""

    url: SecretName | None = Field(
        None,
        description="Where alerts are posted as JSON, by name (${NAME} or ${file:/path}), since "
        "such an address lets anybody post; null sends none.",
    )
    secret: SecretName | None = Field(
        None, description="Signs what is posted (HMAC-SHA256), by name; null does not."
    )
    bulk_reads_per_hour: int | None = Field(
        None, ge=1, description="More reads of conversations and reviews by one key are told."
    )

    new_network: NewNetwork | None = Field(
        None, description="A key that is used from a new network is told; null tells of none."
    )

    @model_validator(mode="after")
    def _goes_somewhere(self) -> "Alerts":
        for name in ("bulk_reads_per_hour", "new_network"):
            if getattr(self, name) is not None and self.url is None:
                raise ValueError(f"{name}: needs url: nobody would hear of it")
        return self

    def secrets(self) -> list[tuple[str, str]]:
        """The keys that name secrets, with their values."""
        named = ("alerts.url", self.url), ("alerts.secret", self.secret)
        return [(key, value) for key, value in named if value is not None]


class LobLimits(Section):
    """What one line of business may use, and how long its requests may take."""

    weight: float = Field(1.0, gt=0, description="Its share of the places, against the others'.")
    max_queue: int | None = Field(
        None,
        ge=0,
        description=(
            "Requests that may wait on a replica, batch ones not counted against live ones; "
            "default as many as there are places."
        ),
    )
    requests_per_minute: float | None = Field(
        None, gt=0, description="Rate over all replicas, in bursts of ten seconds' worth at most."
    )
    timeout_s: float | None = Field(
        300.0, gt=0, description="Deadline of an answer, queue included; null is none."
    )


class KeyLimits(Section):
    """What one API key may use."""

    max_queue: int | None = Field(
        None, ge=0, description="Requests that may wait on a replica, over all its lines."
    )
    requests_per_minute: float | None = Field(
        None, gt=0, description="Rate over all replicas; checked before the body is read."
    )
    own_calls_per_minute: float | None = Field(
        6000.0,
        gt=0,
        description="The same for Switchboard's own endpoints: feedback, interactions, …",
    )


class GrammarLimits(Section):
    """What a client's schema, regular expression or grammar may come to."""

    max_bytes: int = Field(65_536, ge=1024, description="Length of each.")
    max_depth: int = Field(
        64, ge=4, description="Nesting: lists and objects of a schema, groups of an expression."
    )
    max_repetitions: int = Field(
        10_000,
        ge=1,
        description=(
            "Counted repetitions, multiplied where they nest ((a{10}b){20} is 200); "
            "minLength, maxItems and the like."
        ),
    )


class Limits(Section):
    """Admission: how many requests are answered at once, and which wait or are turned away."""

    max_inflight: int | None = Field(
        None,
        ge=1,
        description=(
            "Places: sequences that a replica answers at once, the others wait; "
            "default the engine's max_num_seqs, which it should not exceed."
        ),
    )
    borrow: float = Field(
        0.5,
        ge=0,
        le=1,
        description=(
            "How far a line may go beyond its share while others are present: 0 not at all, "
            "1 up to all places. Alone it may use all."
        ),
    )
    present_s: float = Field(
        30.0, ge=0, description="How long after its last request a line counts as present."
    )
    adapter_wait_s: float | None = Field(
        None,
        ge=0,
        description=(
            "Where more adapters are asked for than adapters.max_active: how long requests of "
            "those that run may pass one that waits for a slot; null leaves that to the engine."
        ),
    )
    batch_beside_live: int = Field(
        1,
        ge=0,
        description=(
            "Places that batches hold on a replica while requests are answered there; lines beyond "
            "are given up and asked again. More slows requests, 0 lets batches wait for quiet."
        ),
    )
    retry_after_min_s: int = Field(1, ge=1, description="Least Retry-After of a 429.")
    retry_after_max_s: int = Field(30, ge=1, description="Greatest Retry-After of a 429.")
    priorities: dict[str, int] = Field(
        default_factory=lambda: {"summary": 10},
        description=(
            "Priority by task (suggestion, summary, chat, completion, response, insight), lower "
            "first, default 0: in a line's queue and in vLLM's scheduler, unless "
            "engine.scheduling_policy is fcfs."
        ),
    )
    grammars: GrammarLimits = Field(
        default_factory=GrammarLimits,
        description="What a request's structured output may ask for; else it is refused with 400.",
    )
    base: LobLimits = Field(
        default_factory=LobLimits, description="For requests on the base model by its name."
    )
    default_key: KeyLimits = Field(default_factory=KeyLimits, description="For every API key.")
    keys: dict[str, KeyLimits] = Field(
        default_factory=dict, description="Instead of default_key, by the key's name."
    )

    @field_validator("priorities")
    @classmethod
    def _tasks_exist(cls, priorities: dict[str, int]) -> dict[str, int]:
        if unknown := priorities.keys() - set(TASKS):
            raise ValueError(f"no task {sorted(unknown)}; there are {', '.join(TASKS)}")
        return priorities
