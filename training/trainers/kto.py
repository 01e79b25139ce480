"""Kahneman-Tversky optimisation with TRL: answers that are only known to be good or bad.

KTO (Ethayarajh et al. 2024, arXiv:2402.01306) needs no pairs. It measures an answer's reward, its
log probability relative to a frozen reference, against a KL term that is estimated from answers
paired with other prompts of the same batch.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.data import preference_rows
from training.errors import FineTuneFailed
from training.recipe.methods import Kto
from training.trainers import common, rendering
from training.trainers.common import TOKENS, Rows, StageContext
from training.trainers.job import Result
from training.trainers.rendering import Renderer


def train(setting: StageContext) -> Result:
    """Fine-tune a LoRA on labelled answers.

    Raises:
        FineTuneFailed: The chat template cannot be trained with, or the loss is not finite.
        TooLittleData: Too few good or too few bad answers are left.
    """
    from transformers import AutoTokenizer
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    class Trainer(KTOTrainer):  # type: ignore[misc,unused-ignore]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # it holds token ids

    rules = setting.recipe.kto
    tokenizer = AutoTokenizer.from_pretrained(setting.job.base_model)
    rows = _rows(setting, rules, tokenizer)
    rows = replace(
        rows,
        learned=paired(rows.learned, rules.batch_size),
        watched=paired(rows.watched, rules.batch_size),
    )
    desirable, undesirable = preference_rows.weights(rules, rows.learned)
    trainer = Trainer(
        **setting.policy(),
        processing_class=tokenizer,
        **common.datasets_of(rows),
        args=KTOConfig(
            **common.arguments(setting),
            beta=rules.beta,
            loss_type=rules.loss,
            desirable_weight=desirable,
            undesirable_weight=undesirable,
        ),
    )
    return common.finish(trainer, setting, rows)


def _rows(setting: StageContext, rules: Kto, tokenizer: Any) -> Rows:
    """Return the answers that fit, shuffled: the KL term's pairing takes them in their order."""
    if setting.job.kto_file is None:
        raise FineTuneFailed("the job names no kto_file, which kto learns from")
    renderer, validation = Renderer.of(setting.job, tokenizer), setting.job.validation_file
    kept, too_long = _fitting(setting.job.kto_file, renderer, rules.max_length)
    preference_rows.enough_labels(setting.job.lob, rules, kept, too_long)
    random.Random(rules.seed).shuffle(kept)  # noqa: S311 - an order, not a secret
    watched, _ = _fitting(validation, renderer, rules.max_length) if validation else ([], 0)
    keys = ("prompt_ids", "completion_ids", "label")
    return common.rows(setting, kept, keys, too_long, watched)


def _fitting(file: str, renderer: Renderer, most: int) -> tuple[list[dict[str, Any]], int]:
    """Return a file's answers that fit, and how many do not."""
    answers = preference_rows.read(Path(file))
    found, too_long = rendering.fitting(answers, ("completion",), renderer, most)
    kept = [
        {**one.row, "prompt_ids": ids.prompt, "completion_ids": ids.answer, TOKENS: one.tokens}
        for one in found
        for ids in one.answers.values()
    ]
    return kept, too_long


def paired(rows: Sequence[dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Return rows with the answer of another prompt of their batch, from which TRL takes the KL.

    Args:
        rows: In the order in which they are learned from, each with `completion_ids`.
        batch_size: Rows of a batch; the answers move on by one in each, as TRL has them do.
    """
    others = [
        rows[begin + (place - 1) % len(rows[begin : begin + batch_size])]["completion_ids"]
        for begin in range(0, len(rows), batch_size)
        for place in range(len(rows[begin : begin + batch_size]))
    ]
    return [{**row, "KL_completion_ids": other} for row, other in zip(rows, others, strict=True)]
