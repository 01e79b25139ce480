"""TRL's SFT trainer without padding, and without logits that carry no loss.

A step takes the examples that it would take without: the same `batch_size`, in the same order.
They are laid end to end in packs (`training.trainers.packing`) of at most `pack_length` tokens, and
each completion token weighs 1 / (completion tokens of the step), however many packs there are. So
the loss and the gradient are those of the padded batch, up to rounding, and the learning rate means
the same. Checkpoints and their resumption are the trainer's own.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import functional
from trl import SFTTrainer

from training.errors import FineTuneFailed
from training.recipe.speed import SpeedConfig
from training.trainers import packed_attention
from training.trainers.packed_attention import PACK_LENGTHS
from training.trainers.packing import pack
from training.trainers.rendering import IGNORED

_log = logging.getLogger(__name__)


class PackingCollator:
    """Lays examples end to end, pack by pack.

    Args:
        pack_length: Most tokens of a pack.
    """

    def __init__(self, pack_length: int) -> None:
        self._pack_length = pack_length

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return one row with all examples.

        Args:
            examples: Each with `input_ids` and `labels`.

        Returns:
            `input_ids`, `labels` and `position_ids`, (1, tokens), and `pack_lengths`: for each
            pack the tokens of its examples. An example's first token is never predicted.
        """
        packs = pack([len(example["input_ids"]) for example in examples], self._pack_length)
        ordered = [examples[index] for indices in packs for index in indices]
        ids = [token for example in ordered for token in example["input_ids"]]
        labels = [label for e in ordered for label in (IGNORED, *e["labels"][1:])]
        positions = [place for e in ordered for place in range(len(e["input_ids"]))]
        return {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions]),
            PACK_LENGTHS: [[len(examples[i]["input_ids"]) for i in indices] for indices in packs],
        }


class PackedTrainer(SFTTrainer):  # type: ignore[misc,unused-ignore]
    """TRL's SFTTrainer, sped up.

    Args:
        model: The base, or a PEFT model of it.
        speed: What to do.
        **kwargs: TRL's own.

    Raises:
        FineTuneFailed: A kernel that is switched on is not installed.
    """

    def __init__(self, model: Any, *, speed: SpeedConfig, **kwargs: Any) -> None:
        cuda = not kwargs["args"].use_cpu
        reason = packed_attention.obstacle(model.config)
        if speed.packing and reason:
            _log.warning("examples are padded, not packed: %s", reason)
        self._packed = speed.packing and reason is None
        if self._packed:
            packed_attention.use(model)
            kwargs["data_collator"] = PackingCollator(speed.pack_length)
        if speed.liger == "on" or (speed.liger == "auto" and cuda and find_spec("liger_kernel")):
            _use_liger(model)
        super().__init__(model=model, **kwargs)
        if speed.fused_lora:
            _fuse_lora(self.model)
        base = getattr(self.model, "get_base_model", lambda: self.model)()
        # TRL's own loss takes only positions with a label where Triton runs, else all of them.
        self._selects = not cuda and "logits_to_keep" in inspect.signature(base.forward).parameters

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add up the gradient of a step's packs.

        Several processes must call the model equally often, so each takes its examples in one.
        """
        step: Callable[..., torch.Tensor] = super().training_step
        if PACK_LENGTHS not in inputs:
            return step(model, inputs, num_items_in_batch)
        if num_items_in_batch is None:
            num_items_in_batch = inputs["labels"].ne(IGNORED).sum().clamp(min=1)
        packs = _packs(inputs) if self.accelerator.num_processes == 1 else [_whole(inputs)]
        losses = [step(model, part, num_items_in_batch) for part in packs]
        return torch.stack(losses).sum()

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        """Look at a batch as one pack: without a gradient it takes little memory."""
        if PACK_LENGTHS in inputs:
            inputs = _whole(inputs)
        found: tuple[Any, Any, Any] = super().prediction_step(model, inputs, *args, **kwargs)
        return found

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a pack, with logits only where there is a label."""
        if not (self._selects and self._packed) or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][0, 1:]
        kept = (labels != IGNORED).nonzero().squeeze(1)
        given = {key: value for key, value in inputs.items() if key != "labels"}
        logits = model(**given, logits_to_keep=kept, use_cache=False).logits[0].float()
        loss = functional.cross_entropy(logits, labels[kept], reduction="sum")
        if num_items_in_batch is None:
            return loss / max(1, len(kept))
        loss = loss / torch.as_tensor(num_items_in_batch).clamp(min=1)
        if self.args.average_tokens_across_devices:  # DDP takes the mean over the processes
            loss = loss * self.accelerator.num_processes
        return loss


def _packs(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a row into its packs, each as a row."""
    begin = 0
    for lengths in inputs[PACK_LENGTHS]:
        end = begin + sum(lengths)
        rows = {k: v[:, begin:end] for k, v in inputs.items() if k != PACK_LENGTHS}
        yield {**rows, PACK_LENGTHS: lengths}
        begin = end


def _whole(inputs: dict[str, Any]) -> dict[str, Any]:
    lengths = [length for lengths in inputs[PACK_LENGTHS] for length in lengths]
    return {**inputs, PACK_LENGTHS: lengths}


def _fuse_lora(model: Any) -> None:
    try:
        from switchboard_kernels.fused_lora_linear import patch_peft
    except ImportError as exc:
        raise FineTuneFailed(f"speed.fused_lora needs switchboard-kernels: {exc}") from exc
    patch_peft(model)


def _use_liger(model: Any) -> None:
    """Put Liger's norms, rotary embeddings and activations in; TRL chunks the loss itself."""
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError as exc:
        raise FineTuneFailed(f"speed.liger needs liger-kernel: {exc}") from exc
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    _apply_liger_kernel_to_instance(
        model=base, cross_entropy=False, fused_linear_cross_entropy=False
    )
