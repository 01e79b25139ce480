"""Lines of business, and what answers where their versions cannot."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from serving import names
from serving.config.base import Section
from serving.config.guards import LobGuards
from serving.config.limits import LobLimits
from serving.config.retention import Retention
from serving.config.reviews import Reviews
from serving.config.rules import Rules
from serving.config.secrets import SecretName
from serving.config.storage import LineStore
from serving.config.structured.fields import TEXT, SummaryFields
from serving.config.structured.insights import Insights

UpstreamName = Annotated[str, StringConstraints(pattern=f"^{names.LOB.pattern}$")]


class Fallback(Section):
    """When a step of a fallback chain is given up, and for how long it is not asked again."""

    first_byte_s: float = Field(
        10.0, gt=0, description="Longest wait for our engine's first byte of a stream."
    )
    answer_s: float = Field(
        60.0,
        gt=0,
        description="The same where nothing is streamed: the first byte is the whole answer.",
    )
    failures: int = Field(
        3, ge=1, description="Consecutive failures that open a step's circuit breaker."
    )
    reset_s: float = Field(
        30.0,
        gt=0,
        description="An open breaker skips its step so long; then one request tries.",
    )


class Upstream(Section):
    """An external OpenAI-compatible server."""

    url: str = Field(
        pattern=r"^https?://[^/?#@]+(/[^?#]*)?$",
        description="Its address, with the /v1: https://models.example/v1.",
    )
    model: str = Field(min_length=1, description="The model to ask it for.")
    api_key: SecretName | None = Field(
        None, description="Its API key, by name: ${NAME} or ${file:/run/secrets/name}."
    )
    timeout_s: float = Field(
        30.0, gt=0, description="Longest wait for its first byte, and between two chunks."
    )
    max_connections: int = Field(
        100, ge=1, description="Connections that a replica opens to it at once."
    )
    pass_fields: list[str] = Field(
        default_factory=list,
        description="Request fields outside OpenAI's API that it understands (top_k, …).",
    )
    redact: bool = Field(
        False,
        description="Hide personal values from it: it gets surrogates, and its answer the values "
        "back.",
    )


class Shadow(Section):
    """A version that answers a share of a line's live requests once more, unseen."""

    version: str = Field(description="A version of the line, such as care@3.")
    share: float = Field(
        0.2, ge=0, le=1, description="Its share of the line's conversations; 0 pauses it."
    )
    max_running: int = Field(
        1, ge=1, description="Requests that it answers at once on a replica; others it skips."
    )


class Search(Section):
    """How a line's library is searched."""

    min_score: float = Field(
        0.05,
        ge=0,
        description="Least score of a find by words: BM25, where the rarest word weighs 1.",
    )
    embeddings: UpstreamName | Literal[False] | None = Field(
        None,
        description="The upstream whose /embeddings finds by meaning, too; null: the model of "
        "`embeddings`, where one runs here; false: words alone.",
    )
    min_similarity: float = Field(
        0.5, ge=-1, le=1, description="Least cosine of embeddings for a find by meaning."
    )
    timeout_s: float = Field(
        0.5, gt=0, le=30, description="Longest search; then the answer goes on without."
    )


class Knowledge(Search):
    """Passages that a suggestion is made from."""

    passages: int = Field(
        3, ge=1, le=20, description="Passages that a suggestion's prompt gets at most."
    )


class Responses(Search):
    """Responses, written by people, that are offered beside a suggestion."""

    offer: int = Field(3, ge=1, le=20, description="Responses offered at most.")


class Suggestions(Section):
    """How suggestions go on from a draft, are told apart, and are withheld."""

    completion_tokens: int = Field(
        16,
        ge=1,
        le=512,
        description="Tokens that follow a draft at most; a request may say others.",
    )
    completion_stops: list[str] = Field(
        default_factory=lambda: [". ", "? ", "! ", "\n"],
        max_length=16,
        description="Texts at which a completion ends: the phrase's end; they are part of it.",
    )
    oversample: int = Field(
        2,
        ge=1,
        le=8,
        description="Candidates made for each that is asked for, where `n` is over 1.",
    )
    max_sampled: int = Field(
        8, ge=1, le=64, description="Candidates made at most, unless more are asked for."
    )
    similar: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Of two candidates that share so much of their words one is given.",
    )
    abstain_below: float | None = Field(
        None,
        gt=0,
        le=1,
        description="No candidate of a smaller confidence is given; null gives any.",
    )
    supersede: bool = Field(
        True, description="A newer request with a `draft` ends the older one of its turn."
    )


class Lob(Section):
    """One line of business."""

    description: str = Field(
        "", description="What the line's work is; the default prompts tell it the model."
    )
    guidelines: str = Field(
        "", description="The line's rules for its texts; the default prompts hold them."
    )
    summary_fields: SummaryFields = Field(
        default_factory=dict,
        description="Fields of a structured summary: name to description, or to an object with "
        "`type`, `description`, `values`, `required` and `example`.",
    )
    insights: Insights = Field(
        default_factory=Insights, description="What /v1/insights tells of its conversations."
    )
    suggestion_defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Sampling defaults of /v1/suggestions; temperature 0 and max_tokens 256 "
        "unless set.",
    )
    suggestions: Suggestions = Field(
        default_factory=Suggestions,
        description="Completions of drafts, several candidates, and silence.",
    )
    summary_defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Sampling defaults of /v1/summaries; temperature 0 and max_tokens 512 "
        "unless set.",
    )
    limits: LobLimits = Field(
        default_factory=LobLimits, description="What the line may use, and its deadline."
    )
    fallback: list[str] = Field(
        default_factory=list,
        description="What answers where the line's version cannot, in order: previous, base, "
        "upstream:NAME.",
    )
    holdback: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the turns whose suggestion is made and not shown (`show: false`), "
        "drawn at random, so that `switchboard impact` can say what showing saves.",
    )
    store: LineStore = Field(
        default_factory=LineStore, description="What of the line is stored, and how."
    )
    retention: Retention = Field(
        default_factory=Retention, description="How long its rows are kept, in days."
    )
    shadow: Shadow | None = Field(
        None, description="A version that answers copies of live requests in the background."
    )
    rules: Rules = Field(
        default_factory=list,
        description="What is answered without a model, or by a version of choice: the first rule "
        "that matches decides.",
    )
    knowledge: Knowledge | None = Field(
        None, description="Suggestions are made from the line's knowledge; null: they are not."
    )
    responses: Responses | None = Field(
        None, description="Responses of the line's library are offered; null: none are."
    )
    guards: LobGuards = Field(
        default_factory=LobGuards, description="What its requests and answers are checked for."
    )
    reviews: Reviews | None = Field(
        None, description="A queue where people decide on what is held; without it, it is refused."
    )


def check_embeddings(name: str, lob: Lob, upstreams: Collection[str]) -> None:
    """Refuse a source of embeddings that is no configured upstream.

    Raises:
        ValueError: One is not; names the key.
    """
    for key, its in (("knowledge", lob.knowledge), ("responses", lob.responses)):
        if its is not None and its.embeddings and its.embeddings not in upstreams:
            raise ValueError(
                f"{name}.{key}.embeddings: there is no {its.embeddings!r} in upstreams"
            )


def _checked(lobs: dict[str, Lob]) -> dict[str, Lob]:
    for name, lob in lobs.items():
        if not names.valid_lob(name):
            raise ValueError(
                f"{name!r} is no name for a line of business: use a-z, 0-9, _ and -, "
                "starting with a letter, at most 32 characters"
            )
        if (its := lob.summary_fields.get(TEXT)) is not None and its.type != "text":
            raise ValueError(
                f"{name}.summary_fields.{TEXT}: it is the summary as free text, so it has no type "
                f"{its.type}"
            )
        shadow = lob.shadow
        if shadow is not None and not names.is_version_of(name, shadow.version):
            raise ValueError(
                f"{name}.shadow.version: {shadow.version!r} is no version of {name}: write it "
                f"as {name}@3"
            )
    return lobs


Lobs = Annotated[dict[str, Lob], AfterValidator(_checked)]
"""Lines of business by name."""
