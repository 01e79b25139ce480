"""What `POST /v1/fine_tuning/jobs` takes: OpenAI's body, with KTO beside its methods. Pure."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from serving.errors import InvalidRequest, NotFound, PermissionDenied
from serving.store.jobs.records import AUTO, Method
from serving.store.records import Json

SEED_LIMIT = 2**31 - 1
Name = Annotated[str, StringConstraints(max_length=64)]
Label = Annotated[str, StringConstraints(max_length=512)]


def _number(kind: type[int] | type[float], low: float, high: float) -> Any:
    """The type of a hyperparameter: a number between two others, or "auto"."""
    noun = "a whole number" if kind is int else "a number"

    def check(value: Any) -> float | str:
        if value is None or value == AUTO:
            return AUTO
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or not low <= value <= high or kind(value) != value:
            raise ValueError(f'must be "auto" or {noun} from {low:g} to {high:g}')
        return kind(value)

    form = {"type": "integer" if kind is int else "number", "minimum": low, "maximum": high}
    return Annotated[
        Any,
        PlainValidator(check),
        WithJsonSchema({"anyOf": [{"const": AUTO}, form, {"type": "null"}], "default": AUTO}),
    ]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hyperparameters(_Body):
    """What "auto" stands for is decided by the line's recipe."""

    n_epochs: _number(int, 1, 1000) = AUTO  # type: ignore[valid-type]
    batch_size: _number(int, 1, 1024) = AUTO  # type: ignore[valid-type]
    learning_rate_multiplier: _number(float, 1e-4, 1e4) = AUTO  # type: ignore[valid-type]


class PreferenceHyperparameters(Hyperparameters):
    """The same with the weight of the reference, for dpo and kto."""

    beta: _number(float, 1e-4, 100) = AUTO  # type: ignore[valid-type]


class Supervised(_Body):
    """Learns the assistant's turns."""

    hyperparameters: Hyperparameters | None = None


class Preference(_Body):
    """Learns from pairs (dpo) or labels (kto)."""

    hyperparameters: PreferenceHyperparameters | None = None


class MethodBody(_Body):
    """How it is learned."""

    type: Method
    supervised: Supervised | None = None
    dpo: Preference | None = None
    kto: Preference | None = None


class JobBody(_Body):
    """A fine-tuning job to be made."""

    model: str = Field(max_length=128, description="A line of business, or the base's name.")
    training_file: str = Field(max_length=128)
    validation_file: str | None = Field(None, max_length=128)
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=SEED_LIMIT)
    metadata: dict[Name, Label] | None = Field(None, max_length=16)
    method: MethodBody | None = None
    hyperparameters: Hyperparameters | None = Field(
        None, description="Of supervised training, as it was said before there was `method`."
    )
    integrations: list[Any] | None = None


def method_of(body: JobBody) -> Json:
    """Return a job's method with all its hyperparameters.

    Raises:
        InvalidRequest: The body says two things at once, or asks for an integration.
    """
    if body.integrations:
        raise InvalidRequest(
            "`integrations` are not supported: nothing leaves this server. A job's metrics are in "
            "its events and in its result file.",
            param="integrations",
        )
    chosen = body.method or MethodBody(type="supervised")
    for other in ("supervised", "dpo", "kto"):
        if other != chosen.type and getattr(chosen, other) is not None:
            raise InvalidRequest(
                f"`method.{other}` means nothing where `method.type` is {chosen.type}.",
                param=f"method.{other}",
            )
    section: Supervised | Preference | None = getattr(chosen, chosen.type)
    given = section.hyperparameters if section else None
    if body.hyperparameters is not None:
        if given is not None or chosen.type != "supervised":
            raise InvalidRequest(
                "Give `hyperparameters` or `method`, not both.", param="hyperparameters"
            )
        given = body.hyperparameters
    if given is None:
        given = Hyperparameters() if chosen.type == "supervised" else PreferenceHyperparameters()
    return {"type": chosen.type, "hyperparameters": given.model_dump()}


def line_of(model: str, base: str, lobs: list[str], covers: Callable[[str], bool]) -> str:
    """Return the line of business for which a version is made.

    Args:
        model: What the body names.
        base: The base model's name.
        lobs: The configured lines.
        covers: Whether the key covers a line.

    Raises:
        NotFound: There is no such model, or it is a version.
        PermissionDenied: The key does not cover the line.
        InvalidRequest: It is the base, and the key covers several lines.
    """
    if model in lobs:
        if not covers(model):
            raise PermissionDenied(f"This key does not cover {model}.", param="model")
        return model
    mine = [lob for lob in lobs if covers(lob)]
    known = ", ".join(mine) or "none that this key covers"
    if model != base:
        raise NotFound(
            f"The model `{model}` cannot be fine-tuned: name a line of business ({known}).",
            param="model",
        )
    if len(mine) == 1:
        return mine[0]
    raise InvalidRequest(
        f"A version belongs to one line of business, and `{model}` is the base of all: name the "
        f"line ({known}), or use a key that covers only one.",
        param="model",
    )


def labels_asked(query: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """Return the labels by which a list is filtered, and whether it is of jobs without any.

    Args:
        query: The query's parameters, with ``metadata[name]=value`` or ``metadata=null``.

    Raises:
        InvalidRequest: The filter is another.
    """
    named = {
        key[len("metadata[") : -1]: value
        for key, value in query.items()
        if key.startswith("metadata[") and key.endswith("]")
    }
    plain = query.get("metadata")
    if plain not in (None, "null") or (plain is not None and named):
        raise InvalidRequest(
            "`metadata` filters as `metadata[name]=value`, or as `metadata=null`.", param="metadata"
        )
    for name in named:
        if not name or len(name) > 64 or set(name) & set('"\\\x00'):
            raise InvalidRequest("`metadata`: there can be no such name.", param="metadata")
    return named, plain is not None
