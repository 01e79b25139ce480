"""Glue: vLLM's ``PunicaWrapperGPU`` with our Triton kernels for linear layers.

Steps of up to 256 tokens run ``decode_shrink_expand``, longer ones ``prefill_shrink`` and the same
expand. What the kernels do not take, vLLM's own path does: more than three slices, float8 adapters,
fully sharded adapters, logits, embeddings, mixtures of experts.

vLLM traces its layers with torch.compile, so the launch is a custom op: the work list and the flag
for "no adapter in this step" reach it as tensors, never as Python values frozen at trace time.

Tested with the versions in ``plugin.TESTED_VLLM``, in Triton's interpreter; not yet on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_gpu import PunicaWrapperGPU
from vllm.utils.torch_utils import direct_register_custom_op

from switchboard_kernels.decode_shrink_expand.kernel import (
    MAX_SLICES,
    decode_shrink_expand,
    expand,
)
from switchboard_kernels.prefill_shrink.kernel import prefill_shrink
from switchboard_kernels.tiles import (
    DECODE_BLOCK_M,
    DECODE_TOKENS,
    PREFILL_BLOCK_M,
    TileTable,
    tile_bound,
)

_TYPES = (torch.bfloat16, torch.float16)


def _lora_linear(
    y: torch.Tensor,
    x: torch.Tensor,
    a: list[torch.Tensor],
    b: list[torch.Tensor],
    rows: torch.Tensor,
    decode_tiles: torch.Tensor,
    prefill_tiles: torch.Tensor,
    empty: torch.Tensor,
    adapters: int,
    scale: float,
    add_inputs: bool,
) -> None:
    if empty.item():
        return
    tokens = x.shape[0]
    if tokens <= DECODE_TOKENS:
        tiles = decode_tiles[: tile_bound(tokens, adapters, DECODE_BLOCK_M)]
        decode_shrink_expand(y, x, a, b, rows, tiles, scale=scale, add_inputs=add_inputs)
    else:
        tiles = prefill_tiles[: tile_bound(tokens, adapters, PREFILL_BLOCK_M)]
        h = prefill_shrink(x, a, rows, tiles, scale=scale)
        expand(y, h, b, rows, tiles, add_inputs=add_inputs, block_m=PREFILL_BLOCK_M)


def _lora_linear_fake(
    y: torch.Tensor,
    x: torch.Tensor,
    a: list[torch.Tensor],
    b: list[torch.Tensor],
    rows: torch.Tensor,
    decode_tiles: torch.Tensor,
    prefill_tiles: torch.Tensor,
    empty: torch.Tensor,
    adapters: int,
    scale: float,
    add_inputs: bool,
) -> None:
    """What torch.compile sees: ``y`` changes in place and nothing is returned."""


direct_register_custom_op(
    op_name="switchboard_lora_linear",
    op_func=_lora_linear,
    mutates_args=["y"],
    fake_impl=_lora_linear_fake,
)


class GroupedPunicaWrapperGPU(PunicaWrapperGPU):  # type: ignore[misc]  # vLLM is untyped here
    """Applies adapters on CUDA; the interface is vLLM's ``PunicaWrapperBase``."""

    def __init__(
        self,
        max_num_batched_tokens: int,
        max_batches: int,
        device: torch.device | str,
        **kwargs: Any,
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        self._table = TileTable(max_num_batched_tokens, self.max_loras, device)

    def update_metadata(
        self,
        mapping: Any,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **kwargs: Any,
    ) -> None:
        """Sort the step's tokens by adapter; see vLLM for the arguments."""
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        slots = {number: slot for slot, number in enumerate(lora_index_to_id) if number is not None}
        self._table.update([slots[n] if n > 0 else -1 for n in mapping.index_mapping])

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: torch.Tensor | None = None,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        """Add every slice's scale · (x Aᵀ) Bᵀ to ``y``: (tokens, columns)."""
        ours = (
            len(lora_a_stacked) <= MAX_SLICES
            and x.dtype in _TYPES
            and all(w.dtype == x.dtype for w in (*lora_a_stacked, *lora_b_stacked))
            and tuple(w.shape[-2] for w in lora_b_stacked) == tuple(output_slices)
        )
        if not ours:
            super().add_lora_linear(
                y,
                x,
                lora_a_stacked,
                lora_b_stacked,
                scale,
                output_slices,
                buffer=buffer,
                add_inputs=add_inputs,
                **kwargs,
            )
            return
        torch.ops.vllm.switchboard_lora_linear(
            y,
            x.view(-1, x.shape[-1]),
            list(lora_a_stacked),
            list(lora_b_stacked),
            self._table.rows,
            self._table.decode,
            self._table.prefill,
            self._table.empty,
            self.max_loras,
            scale,
            add_inputs,
        )
