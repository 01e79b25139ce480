"""Direct preference optimisation with TRL: the agents' texts over those that they changed.

DPO (Rafailov et al. 2023, arXiv:2305.18290) raises the log probability of the chosen answer over
the rejected one, each relative to a frozen reference. The paper's reference is the policy after
SFT; `adapter_model.policy` says how the two adapters share one base.
"""

from pathlib import Path
from typing import Any

from training.data import preference_rows
from training.errors import FineTuneFailed
from training.recipe.methods import Dpo
from training.trainers import common, rendering
from training.trainers.common import TOKENS, Rows, StageContext
from training.trainers.job import Result
from training.trainers.rendering import Renderer


def train(setting: StageContext) -> Result:
    """Fine-tune a LoRA on preference pairs.

    Raises:
        FineTuneFailed: The chat template cannot be trained with, or the loss is not finite.
        TooLittleData: Too few pairs are left.
    """
    from transformers import AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    class Trainer(DPOTrainer):  # type: ignore[misc,unused-ignore]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # it holds token ids

    rules = setting.recipe.dpo
    tokenizer = AutoTokenizer.from_pretrained(setting.job.base_model)
    rows = _rows(setting, rules, tokenizer)
    trainer = Trainer(
        **setting.policy(),
        processing_class=tokenizer,
        **common.datasets_of(rows),
        args=DPOConfig(
            **common.arguments(setting),
            train_sampling_strategy="random",
            beta=rules.beta,
            loss_type=[rules.loss],
            label_smoothing=rules.label_noise,
        ),
    )
    return common.finish(trainer, setting, rows)


def _rows(setting: StageContext, rules: Dpo, tokenizer: Any) -> Rows:
    """Return the pairs of which both answers fit."""
    if setting.job.preference_file is None:
        raise FineTuneFailed("the job names no preference_file, which dpo learns from")
    renderer, validation = Renderer.of(setting.job, tokenizer), setting.job.validation_file
    kept, too_long = _fitting(setting.job.preference_file, renderer, rules.max_length)
    preference_rows.enough_pairs(setting.job.lob, rules, kept, too_long)
    watched, _ = _fitting(validation, renderer, rules.max_length) if validation else ([], 0)
    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    return common.rows(setting, kept, keys, too_long, watched)


def _fitting(file: str, renderer: Renderer, most: int) -> tuple[list[dict[str, Any]], int]:
    """Return a file's pairs of which both answers fit, and how many do not."""
    pairs = preference_rows.read(Path(file))
    found, too_long = rendering.fitting(pairs, ("chosen", "rejected"), renderer, most)
    kept = [
        {
            **one.row,
            "prompt_ids": one.answers["chosen"].prompt,
            "chosen_ids": one.answers["chosen"].answer,
            "rejected_ids": one.answers["rejected"].answer,
            TOKENS: one.tokens,
        }
        for one in found
    ]
    return kept, too_long
