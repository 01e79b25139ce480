"""Glue: vLLM's ``PunicaWrapperCPU`` with the grouped op in place of its per-token gathers.

vLLM indexes the stacked weights with -1 for rows on the base model, and -1 means the last slot to
torch: such rows got the last adapter. Here they are left out when the batch is sorted, once per
step, in ``update_metadata``. Tested with the versions in ``plugin.TESTED_VLLM``.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from switchboard_kernels.cpu_grouped_lora.groups import TokenGroups
from switchboard_kernels.cpu_grouped_lora.native import NativeLayer, load, native_grouped_lora
from switchboard_kernels.cpu_grouped_lora.op import grouped_expand, grouped_lora, grouped_shrink
from switchboard_kernels.cpu_grouped_lora.weights import LayerWeights


class _Layer:
    """What is kept of a layer between steps."""

    def __init__(
        self,
        key: object,
        a: tuple[torch.Tensor, ...],
        b: tuple[torch.Tensor, ...],
        library: Any,
    ) -> None:
        self.key = key
        self.weights = LayerWeights(a, b, library)
        self.widths = self.weights.widths
        fits = library is not None and NativeLayer.fits(self.weights)
        self.native = NativeLayer(self.weights) if fits else None


_NOTHING = TokenGroups.from_indices(torch.empty(0, dtype=torch.int64))


class GroupedPunicaWrapperCPU(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM is untyped here
    """Applies adapters on CPU; the interface is vLLM's ``PunicaWrapperBase``."""

    def __init__(
        self,
        max_num_batched_tokens: int,
        max_batches: int,
        device: torch.device | str,
        **kwargs: Any,
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        self._token_groups = _NOTHING
        self._sampler_groups = _NOTHING
        self._library = load()
        # By the identity of the layer's B, which the entry keeps alive.
        self._layers: dict[int, _Layer] = {}

    def update_metadata(
        self,
        mapping: Any,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **kwargs: Any,
    ) -> None:
        """Sort the step's tokens by adapter; see vLLM for the arguments."""
        del kwargs  # vLLM passes none today
        self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        self.is_prefill = mapping.is_prefill
        self._token_groups = TokenGroups.from_indices(self.token_lora_indices)
        self._sampler_groups = TokenGroups.from_indices(self.sampler_indices)
        self.no_lora = not self._token_groups.groups

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **kwargs: Any,  # noqa: ARG002  vLLM's interface
    ) -> None:
        """Write scale · x Aᵀ into ``y[slice]``: (tokens, rank) each; base rows keep their bits."""
        groups = self._token_groups
        if not groups.groups:
            return
        x = x.view(-1, x.shape[-1])
        parts = grouped_shrink(x, lora_a_stacked, groups, scale=scale, dtype=y[0].dtype)
        for out, part in zip(y, parts, strict=True):
            out.view(-1, out.shape[-1])[:, : part.shape[1]].index_copy_(0, groups.rows, part)

    def add_expand(
        self,
        y: torch.Tensor,
        x: tuple[torch.Tensor, ...] | torch.Tensor,
        lora_b_stacked: tuple[torch.Tensor, ...],
        output_slices: tuple[int, ...],
        offset_start: int = 0,
        add_inputs: bool = True,
        **kwargs: Any,  # noqa: ARG002  vLLM's interface
    ) -> None:
        """Add x[slice] Bᵀ to the slices of ``y``: (tokens, columns)."""
        grouped_expand(
            y.view(-1, y.shape[-1]),
            tuple(x),
            lora_b_stacked,
            output_slices,
            self._token_groups,
            offset=offset_start,
            add_inputs=add_inputs,
        )

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **kwargs: Any,  # noqa: ARG002  vLLM's interface
    ) -> None:
        """Add x Bᵀ to the embeddings ``y``: (tokens, hidden); x is (tokens, rank)."""
        groups = self._token_groups
        if not groups.groups:
            return
        layer = self._layer(lora_b_stacked, (), (lora_b_stacked,))
        if layer.weights.silent(groups) and add_inputs:
            return
        if not self._native(y, x, layer, groups, 1.0, add_inputs):
            grouped_expand(y, (x,), layer.weights.b, layer.widths, groups, add_inputs=add_inputs)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,  # noqa: ARG002  ours needs none
        add_inputs: bool = True,
        **kwargs: Any,  # noqa: ARG002  vLLM's interface
    ) -> None:
        """Add every slice's scale · (x Aᵀ) Bᵀ to ``y``: (tokens, columns)."""
        groups = self._token_groups
        if not groups.groups:
            return
        layer = self._layer(lora_b_stacked, lora_a_stacked, lora_b_stacked)
        if layer.widths == tuple(output_slices) and self._native(
            y, x, layer, groups, scale, add_inputs
        ):
            return
        grouped_lora(
            y,
            x,
            lora_a_stacked,
            lora_b_stacked,
            output_slices,
            groups,
            scale=scale,
            add_inputs=add_inputs,
        )

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,  # noqa: ARG002  ours needs none
        **kwargs: Any,  # noqa: ARG002  vLLM's interface
    ) -> None:
        """Add scale · (x Aᵀ) Bᵀ to the logits ``y``: (sampled tokens, vocabulary)."""
        groups = self._sampler_groups
        if not groups.groups:
            return
        layer = self._layer(lora_b_stacked, (lora_a_stacked,), (lora_b_stacked,))
        # Few adapters train the head; vLLM calls this for all.
        if layer.weights.silent(groups):
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        if not self._native(y, x, layer, groups, scale, add_inputs=True):
            columns = min(y.shape[1], lora_b_stacked.shape[-2])
            grouped_lora(y, x, layer.weights.a, layer.weights.b, (columns,), groups, scale=scale)

    def _layer(
        self, key: object, a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]
    ) -> _Layer:
        layer = self._layers.get(id(key))
        if layer is None or layer.key is not key:
            layer = self._layers[id(key)] = _Layer(key, a, b, self._library)
        layer.weights.refresh()
        return layer

    def _native(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        layer: _Layer,
        groups: TokenGroups,
        scale: float,
        add_inputs: bool,
    ) -> bool:
        if self._library is None or layer.native is None:
            return False
        return native_grouped_lora(
            self._library,
            y,
            x,
            layer.native,
            groups.native,
            scale=scale,
            offset=0,
            add_inputs=add_inputs,
        )
