"""The recipe: everything that decides how one line of business is trained and judged.

A recipe is one YAML file, read once. It is frozen and knows every key, so that a misspelt one is
an error rather than a silent default, and its content can be stored with each version it made.
"""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from training.errors import RecipeError
from training.recipe.base import RecipeSection
from training.recipe.canary import CanaryConfig
from training.recipe.curation import CurationConfig
from training.recipe.distillation import StudentConfig
from training.recipe.flywheel import FlywheelConfig
from training.recipe.forgetting import ForgettingConfig
from training.recipe.gate import GateConfig
from training.recipe.judge import JudgeConfig
from training.recipe.methods import (
    Dpo,
    Kto,
    LaunchConfig,
    Lora,
    OptimizationConfig,
    Sft,
    ValidationConfig,
)
from training.recipe.monitoring import MonitoringConfig
from training.recipe.resources import ResourcesConfig
from training.recipe.search import SearchConfig
from training.recipe.speed import SpeedConfig
from training.recipe.tracking import TrackingConfig

Stage = Literal["sft", "dpo", "kto"]


class EvaluationConfig(RecipeSection):
    """How base, live and candidate answer the held-out conversations: all three the same way."""

    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy, which compares best.")
    max_tokens: int = Field(
        256, ge=1, description="Longest output in tokens where the recorded request set no limit."
    )
    seed: int = Field(7, ge=0, description="Sampling seed, and the seed of the bootstrap.")
    concurrency: int = Field(8, ge=1, le=512, description="Requests in flight at once.")
    timeout_s: float = Field(120, gt=0, description="Longest wait for one output.")
    resamples: int = Field(10_000, ge=200, description="Bootstrap resamples behind each interval.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of each interval.")


class Recipe(RecipeSection):
    """How one line of business is trained and judged."""

    method: Literal["sft", "dpo", "kto", "sft_dpo"] = Field(
        "sft", description="The training method; sft_dpo goes on from SFT's adapter with DPO."
    )
    start: Literal["fresh", "live"] = Field(
        "fresh",
        description="fresh trains a new adapter; live goes on from the one that serves, which "
        "must have the same shape. Where none serves yet, live is fresh.",
    )
    curation: CurationConfig = Field(
        CurationConfig(), description="Which feedback becomes examples."
    )
    lora: Lora = Field(Lora(), description="The adapter's shape.")
    sft: Sft = Field(Sft(), description="Supervised fine-tuning.")
    dpo: Dpo = Field(Dpo(), description="Direct preference optimisation.")
    kto: Kto = Field(Kto(), description="Kahneman-Tversky optimisation.")
    validation: ValidationConfig = Field(
        ValidationConfig(), description="Early stopping on conversations kept back from training."
    )
    launch: LaunchConfig = Field(
        LaunchConfig(), description="How the trainer's process is started."
    )
    speed: SpeedConfig = Field(SpeedConfig(), description="How SFT's steps are computed.")
    tracking: TrackingConfig = Field(
        TrackingConfig(), description="Where the steps' figures are written."
    )
    evaluation: EvaluationConfig = Field(
        EvaluationConfig(), description="How the models are compared."
    )
    gate: GateConfig = Field(
        GateConfig(), description="What a candidate must show before it may serve."
    )
    judge: JudgeConfig = Field(
        JudgeConfig(), description="A model that compares candidate and live."
    )
    forgetting: ForgettingConfig = Field(
        ForgettingConfig(), description="What of the base must stay."
    )
    canary: CanaryConfig = Field(CanaryConfig(), description="How a canary grows and what ends it.")
    monitoring: MonitoringConfig = Field(
        MonitoringConfig(),
        exclude=True,  # nor does what is watched afterwards
        description="What of production is graded, and when its drift is told.",
    )
    search: SearchConfig = Field(
        SearchConfig(), description="What `switchboard train --search N` tries."
    )
    resources: ResourcesConfig = Field(
        ResourcesConfig(),
        exclude=True,  # where it runs decides nothing about the version that keeps the recipe
        description="Where training runs and what it may take from what serves.",
    )
    student: StudentConfig | None = Field(
        None, description="Learn a larger model's outputs instead."
    )
    flywheel: FlywheelConfig = Field(
        FlywheelConfig(), description="When training begins by itself."
    )

    @property
    def stages(self) -> tuple[tuple[Stage, OptimizationConfig], ...]:
        """Return the method's stages in their order, each with its section."""
        sections: dict[Stage, OptimizationConfig] = {
            "sft": self.sft,
            "dpo": self.dpo,
            "kto": self.kto,
        }
        names: tuple[Stage, ...] = ("sft", "dpo") if self.method == "sft_dpo" else (self.method,)
        return tuple((name, sections[name]) for name in names)

    @model_validator(mode="after")
    def _checkpoints_once(self) -> Self:
        for name, rules in self.stages:
            if self.validation.share and rules.checkpoint_steps:
                raise ValueError(
                    f"{name}.checkpoint_steps ({rules.checkpoint_steps}) and validation: with "
                    "validation a checkpoint is saved at each look; leave checkpoint_steps out"
                )
        return self


def load(path: Path) -> Recipe:
    """Read a recipe.

    Args:
        path: A YAML file with the keys of `Recipe`.

    Raises:
        RecipeError: The file cannot be read, or any key is wrong; all faults are in the message.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise RecipeError(f"{path}: cannot be read ({exc.strerror})") from exc
    except yaml.YAMLError as exc:
        raise RecipeError(f"{path}: is not YAML: {exc}") from exc
    try:
        return Recipe.model_validate({} if content is None else content)
    except ValidationError as exc:
        raise RecipeError(_explain(path, exc)) from exc


def find(lob: str, config: Path) -> Path:
    """Return the recipe that belongs to a line of business.

    Args:
        lob: The line of business.
        config: The server's configuration file; recipes lie in `training/` beside it.

    Raises:
        RecipeError: There is neither a recipe of that name nor a default one.
    """
    folder = config.resolve().parent / "training"
    for name in (f"{lob}.yaml", "default.yaml"):
        if (folder / name).is_file():
            return folder / name
    raise RecipeError(f"{folder} has neither {lob}.yaml nor default.yaml; name one with --recipe")


def _explain(path: Path, error: ValidationError) -> str:
    faults = [_fault(e["loc"], e["type"], e["msg"], e["input"]) for e in error.errors()]
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n".join([f"{path}: {count}", *(f"  {fault}" for fault in faults)])


def _fault(loc: tuple[int | str, ...], kind: str, message: str, value: Any) -> str:
    """Name a key, what it holds and what it should hold."""
    key = ".".join(str(part) for part in loc) or "the file"
    section, field = _section(loc)
    if kind == "extra_forbidden":
        known = ", ".join(section.model_fields) if section else "none here"
        return f"{key}: unknown key (got {value!r}). Fix: remove it, or use one of: {known}"
    if kind == "missing":
        return f"{key}: missing. Fix: add it. {field}".rstrip()
    return f"{key}: {message} (got {value!r}). Fix: {field or 'correct the value'}"


def _section(loc: tuple[int | str, ...]) -> tuple[type[BaseModel] | None, str]:
    """Return the model that holds the key at `loc`, and the key's description."""
    section: type[BaseModel] | None = Recipe
    description = ""
    for index, part in enumerate(loc):
        if isinstance(part, int) or section is None:
            continue
        field = section.model_fields.get(part)
        if field is None:
            return section, description
        description = field.description or ""
        if index + 1 < len(loc):
            section = _inner(field.annotation)
    return section, description


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Return the recipe section inside an annotation, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
    return None
