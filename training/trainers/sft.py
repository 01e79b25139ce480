"""Supervised fine-tuning of a LoRA with TRL: it learns the agents' texts, and only those.

The prompt's tokens carry no loss. Everything heavy is imported inside.
"""

import json
from pathlib import Path
from typing import Any

from serving.untrusted_text import SpecialTokens
from training.errors import FineTuneFailed
from training.trainers import common
from training.trainers.common import TOKENS, Rows, StageContext
from training.trainers.job import Result


def train(setting: StageContext) -> Result:
    """Fine-tune a LoRA on examples.

    Raises:
        FineTuneFailed: No example fits, the chat template never ends an answer, or the loss is
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
            completion_only_loss=True,
            train_sampling_strategy="random",
        ),
    )
    return common.finish(trainer, setting, rows)


def _rows(setting: StageContext, tokenizer: Any) -> Rows:
    """Return the rows that fit.

    A row that is cut teaches to stop in mid-sentence or loses what the answer rests on, so a long
    one is left out whole.
    """
    rows, too_long, ends = [], 0, False
    special = SpecialTokens.of(tokenizer)
    with Path(setting.job.train_file).open(encoding="utf-8") as lines:
        for line in lines:
            row = special.broken_in(json.loads(line))
            ids = tokenizer.apply_chat_template(
                row["prompt"] + row["completion"], return_dict=True
            )["input_ids"]
            if len(ids) > setting.rules.max_length:
                too_long += 1
                continue
            prompt = tokenizer.apply_chat_template(
                row["prompt"], add_generation_prompt=True, return_dict=True
            )["input_ids"]
            ends = ends or tokenizer.eos_token_id in ids[len(prompt) :]
            rows.append({**row, TOKENS: len(ids)})
    if not rows:
        raise FineTuneFailed(
            f"none of {too_long} examples fits into {setting.rules.max_length} tokens; "
            "raise sft.max_length"
        )
    if not ends:
        raise FineTuneFailed(
            f"the base's chat template does not close an answer with {tokenizer.eos_token!r}, so "
            "a fine-tuned model would never stop; give the base a template that does"
        )
    return common.rows(setting, rows, ("prompt", "completion"), too_long)
