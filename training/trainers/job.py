"""What the fine-tuning process is asked, and what it answers: plain values that JSON holds."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """One fine-tuning job.

    Args:
        lob: The line of business.
        base_model: Path or hub id of the base.
        base_hash: The base's hash, kept in the adapter so that no other base serves it.
        dataset_id: The dataset's id.
        train_file: Its training examples, JSONL.
        out: Folder for the adapter and the checkpoints; a checkpoint found in it is resumed from.
        recipe: The recipe, as JSON.
        preference_file: Its preference pairs, JSONL, for DPO.
        kto_file: Its labelled answers, JSONL, for KTO.
        start: The PEFT folder of the adapter to go on from; None starts a fresh one.
        start_version: That adapter's version, such as care@7.
        chat_template: The template that the server renders by, as text; None is the base's own.
        chat_template_kwargs: The variables that the server gives it where a request gives none.
        validation_file: Rows as the last stage learns from, JSONL, to look at after each epoch;
            nothing is chosen by them.
    """

    lob: str
    base_model: str
    base_hash: str
    dataset_id: str
    train_file: str
    out: str
    recipe: dict[str, Any]
    preference_file: str | None = None
    kto_file: str | None = None
    start: str | None = None
    start_version: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    validation_file: str | None = None


@dataclass(frozen=True)
class Result:
    """What a job made. Of two stages, counts and times are sums, and losses follow each other.

    Args:
        adapter: The PEFT folder.
        examples: Examples, pairs or labelled answers learned from.
        too_long: Those left out because they exceed `max_length`.
        tokens: Tokens of what was learned from, each counted once.
        steps: Optimizer steps.
        seconds: Wall time, without the imports.
        device: cpu or cuda.
        parameters: Trainable parameters.
        peak_memory_bytes: The GPU's, or the process's resident memory on a CPU.
        losses: (step, loss) pairs.
        validation_loss: The adapter's loss on the validation conversations, which is the lowest, or
            on the validation file, the last; None without either, and the last stage's of two.
        validation_losses: (step, loss) pairs of each look at them, of the last stage.
        margins: (step, margin) pairs of DPO and KTO: the mean implicit reward of what is wanted
            less that of what is not, in nats times beta.
        cpu_seconds: CPU time of all threads; of several processes, the first one's.
    """

    adapter: str
    examples: int
    too_long: int
    tokens: int
    steps: int
    seconds: float
    device: str
    parameters: int
    peak_memory_bytes: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    validation_loss: float | None = None
    validation_losses: list[tuple[int, float]] = field(default_factory=list)
    margins: list[tuple[int, float]] = field(default_factory=list)
    cpu_seconds: float = 0.0
