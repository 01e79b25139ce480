"""Supervised fine-tuning of a LoRA with TRL: it learns the agents' texts, and only those.

The prompt's tokens carry no loss. Everything heavy is imported inside.
"""

from pathlib import Path
from typing import Any

from training.data import preference_rows
from training.errors import FineTuneFailed
from training.trainers import common, rendering
from training.trainers.common import TOKENS, Rows, StageContext
from training.trainers.job import Result
from training.trainers.rendering import Renderer


def train(setting: StageContext) -> Result:
    """Fine-tune a LoRA on examples.

    Raises:
        FineTuneFailed: No example fits, the chat template cannot be trained with, or the loss is
            not finite.
        TooLittleData: Validation leaves nothing to learn from or to look at.
    """
    from transformers import AutoTokenizer
    from trl.trainer.sft_config import SFTConfig

    from training.trainers.packed_sft import PackedTrainer

    tokenizer = AutoTokenizer.from_pretrained(setting.job.base_model)
    rows = _rows(setting, tokenizer)
    trainer = PackedTrainer(
        **setting.policy(),
        speed=setting.recipe.speed,
        processing_class=tokenizer,
        **common.datasets_of(rows),
        args=SFTConfig(
            **common.arguments(setting),
            train_sampling_strategy="random",
        ),
    )
    return common.finish(trainer, setting, rows)


def _rows(setting: StageContext, tokenizer: Any) -> Rows:
    """Return the rows that fit."""
    most, validation = setting.rules.max_length, setting.job.validation_file
    renderer = Renderer.of(setting.job, tokenizer)
    learned, too_long = _fitting(setting.job.train_file, renderer, most)
    if not learned:
        raise FineTuneFailed(
            f"none of {too_long} examples fits into {most} tokens; raise sft.max_length"
        )
    watched, _ = _fitting(validation, renderer, most) if validation else ([], 0)
    return common.rows(setting, learned, ("input_ids", "labels"), too_long, watched)


def _fitting(file: str, renderer: Renderer, most: int) -> tuple[list[dict[str, Any]], int]:
    """Return a file's rows that fit, and how many do not."""
    read = preference_rows.read(Path(file))
    fitting, too_long = rendering.fitting(read, ("completion",), renderer, most)
    rows = [
        {
            **example.row,
            "input_ids": answer.prompt + answer.answer,
            "labels": answer.labels,
            TOKENS: example.tokens,
        }
        for example in fitting
        for answer in example.answers.values()
    ]
    return rows, too_long
