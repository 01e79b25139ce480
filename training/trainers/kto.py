"""Kahneman-Tversky optimisation with TRL: answers that are only known to be good or bad.

KTO (Ethayarajh et al. 2024, arXiv:2402.01306) needs no pairs. It measures an answer's reward, its
log probability relative to a frozen reference, against a KL term that is estimated from answers
paired with other prompts of the same batch.
"""

import random
from pathlib import Path
from typing import Any

from training.data import preference_rows
from training.errors import FineTuneFailed
from training.recipe.methods import Kto
from training.trainers import common
from training.trainers.common import TOKENS, Rows, StageContext
from training.trainers.job import Result


def train(setting: StageContext) -> Result:
    """Fine-tune a LoRA on labelled answers.

    Raises:
        FineTuneFailed: The loss is not finite.
        TooLittleData: Too few good or too few bad answers are left.
    """
    from transformers import AutoTokenizer
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    rules = setting.recipe.kto
    tokenizer = AutoTokenizer.from_pretrained(setting.job.base_model)
    rows = _rows(setting, rules, tokenizer)
    desirable, undesirable = preference_rows.weights(rules, rows.learned)
    trainer = KTOTrainer(
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
    answers = preference_rows.read(Path(setting.job.kto_file))
    kept, too_long = preference_rows.fitting(
        answers, ("completion",), tokenizer, rules.max_length, TOKENS
    )
    preference_rows.enough_labels(setting.job.lob, rules, kept, too_long)
    random.Random(rules.seed).shuffle(kept)  # noqa: S311 - an order, not a secret
    return common.rows(setting, kept, ("prompt", "completion", "label"), too_long)
